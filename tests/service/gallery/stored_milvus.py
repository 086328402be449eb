"""The gallery of Milvus over templates sealed in PostgreSQL, as enrolments would have stored them."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from service.gallery.base import Hit
from service.sealing.keys import SubjectKey
from service.spaces.milvus_gallery import MilvusGallery
from service.store.database import Database
from service.store.search_schema import GalleryOptions, IndexKind
from tests.service.gallery.stored import SUBJECT, Floats, Ids, next_space, store_templates
from tests.service.store.support import KEYS


class StoredInMilvus:
    """A gallery in a space of its own, whose templates are sealed under the key of one subject."""

    def __init__(
        self, url: str, milvus_uri: str, dimension: int, *, index: IndexKind, candidates: int = 200
    ) -> None:
        self._url, self._dimension = url, dimension
        self.space_id = next_space()
        self.options = GalleryOptions(
            kind="milvus", index=index, candidates=candidates, milvus_uri=milvus_uri
        )
        self._key, self._token = asyncio.run(self._prepare())

    async def _prepare(self) -> tuple[SubjectKey, str]:
        db = await Database.open(self._url, KEYS)
        await db.migrate()
        await db.use_gallery(self.options)
        async with db.write() as uow:
            await uow.spaces.register(self.space_id, "bundle", self._dimension, "ready")
            await uow.subjects.ensure(SUBJECT, None)
            key = await uow.subject_keys.of_subject(SUBJECT)
            token = await uow.subject_keys.ids.token(SUBJECT)
            transform = await uow.search.transform(self.space_id, self._dimension)
            name = await uow.search.collection(self.space_id)
            await uow.commit()
        assert db.milvus is not None
        assert db.reader is not None
        self.milvus, self.reader = db.milvus, db.reader
        self.inner = MilvusGallery(db.milvus, db.reader, self.space_id, name, transform)
        self.inner.arrange()
        # Both have connections of their own, which stay open.
        db.milvus = db.reader = None
        await db.close()
        return key, token

    def close(self) -> None:
        self.milvus.drop(self.inner.name)
        self.milvus.close()
        self.reader.close()

    @property
    def size(self) -> int:
        return self.inner.size

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Stores search vectors with these ids, then the sealed templates."""
        self.inner.add(ids, vectors)
        with self.connect() as connection:
            place = (self.space_id, self._token, self._key)
            store_templates(connection, place, ids.tolist(), vectors)

    def remove(self, ids: Ids) -> None:
        with self.connect() as connection:
            connection.execute("DELETE FROM templates WHERE template_id = ANY(%s)", (ids.tolist(),))
        self.inner.remove(ids)

    def clear(self) -> None:
        with self.connect() as connection:
            connection.execute("DELETE FROM templates WHERE space_id = %s", (self.space_id,))
        self.inner.clear()

    def search(self, queries: Floats, k: int) -> list[list[Hit]]:
        return self.inner.search(queries, k)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._url.replace("+psycopg", ""))
