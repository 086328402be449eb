"""The gallery of PostgreSQL with templates of its own: a test adds what an enrolment would have stored."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from service.gallery.base import Hit
from service.sealing.keys import SubjectKey
from service.spaces.pgvector_gallery import PgvectorGallery
from service.store.database import Database
from service.store.gallery_log import to_bytes
from service.store.opening import TEMPLATE
from service.store.search_index import SearchIndex
from service.store.search_schema import GalleryOptions, IndexKind
from tests.service.store.support import KEYS

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
SUBJECT = "somebody"
_NUMBERS = itertools.count()


def next_space() -> str:
    """A name that no other space of the tests has."""
    return f"space {next(_NUMBERS)}"


class StoredGallery:
    """A gallery in a space of its own, whose templates are sealed under the key of one subject."""

    def __init__(
        self, url: str, dimension: int, *, index: IndexKind, candidates: int = 200, keys: Any = KEYS
    ) -> None:
        self._url, self._dimension, self._keys = url, dimension, keys
        self.space_id = next_space()
        self.options = GalleryOptions(kind="pgvector", index=index, candidates=candidates)
        self._others: list[SearchIndex] = []
        self._key, self._token = asyncio.run(self._prepare())

    async def _prepare(self) -> tuple[SubjectKey, str]:
        db = await Database.open(self._url, self._keys)
        await db.migrate()
        await db.use_gallery(self.options)
        async with db.write() as uow:
            await uow.spaces.register(self.space_id, "bundle", self._dimension, "ready")
            await uow.subjects.ensure(SUBJECT, None)
            key = await uow.subject_keys.of_subject(SUBJECT)
            token = await uow.subject_keys.ids.token(SUBJECT)
            transform = await uow.search.transform(self.space_id, self._dimension)
            await uow.commit()
        assert db.search is not None
        self.index = db.search
        self.inner = PgvectorGallery(db.search, self.space_id, transform)
        # The index has connections of its own, which stay open.
        db.search = None
        await db.close()
        return key, token

    def close(self) -> None:
        for one in (self.index, *self._others):
            one.close()

    @property
    def size(self) -> int:
        return self.inner.size

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Stores sealed templates with these ids, then their search vectors."""
        # Refuses what is wrong before anything is stored.
        self.inner.add(ids, vectors)
        self.store(ids.tolist(), vectors)
        self.inner.add(ids, vectors)

    def remove(self, ids: Ids) -> None:
        self.inner.remove(ids)

    def clear(self) -> None:
        self.inner.clear()

    def search(self, queries: Floats, k: int) -> list[list[Hit]]:
        return self.inner.search(queries, k)

    def with_options(self, index: IndexKind, candidates: int = 200) -> PgvectorGallery:
        """The same rows, searched in another way."""
        options = GalleryOptions(kind="pgvector", index=index, candidates=candidates)
        made = SearchIndex(self._url, options, self.index._unsealed, self.index._failed)
        self._others.append(made)
        return PgvectorGallery(made, self.space_id, self.inner._transform)

    def store(self, ids: list[int], vectors: Floats) -> None:
        """Stores sealed templates with these ids, and no search vectors."""
        with self.connect() as connection:
            store_templates(connection, (self.space_id, self._token, self._key), ids, vectors)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url.replace("+psycopg", ""))


def store_templates(
    connection: psycopg.Connection[Any], place: tuple[str, str, SubjectKey], ids: list[int], vectors: Floats
) -> None:
    """Stores sealed templates with these ids. `place`: space, token of the subject, key of the subject."""
    space_id, token, key = place
    samples, rows = [], []
    for template_id, vector in zip(ids, vectors, strict=True):
        sample = f"{space_id} {template_id}"
        bound = (TEMPLATE, sample, space_id, str(template_id))
        samples.append((sample, token))
        rows.append((template_id, space_id, sample, key.seal(to_bytes(vector), *bound)))
    with connection.cursor() as cursor:
        # An earlier gallery of the test gave them to its space.
        moved = "DELETE FROM templates WHERE template_id = ANY(%s) AND space_id <> %s"
        cursor.execute(moved, (ids, space_id))
        cursor.executemany(
            "INSERT INTO samples (sample_id, subject_id, digest, spectrum, masked, mask_probability,"
            " quality_score, inter_eye_px, source_width, source_height, created_at) VALUES"
            " (%s, %s, '', 'vis', false, 0, 80, 60, 640, 480, now()) ON CONFLICT DO NOTHING",
            samples,
        )
        cursor.executemany(
            "INSERT INTO templates (template_id, space_id, sample_id, vector) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (template_id) DO UPDATE SET vector = excluded.vector,"
            " space_id = excluded.space_id, sample_id = excluded.sample_id",
            rows,
        )
