"""Stores templates: the vectors of samples, one for each embedding space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, and_, exists, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from faces.types import Condition, Spectrum
from service.store.descriptions import SEALED_SUBJECT, open_subject
from service.store.errors import StoreError
from service.store.gallery_log import GalleryLog, from_bytes, to_bytes
from service.store.opening import TEMPLATE, TEMPLATE_ROWS, TemplateOpener
from service.store.portions import portions
from service.store.records import OwnedTemplate, Owner, StoredTemplate
from service.store.search_rows import SearchRows
from service.store.subject_keys import SubjectKeys, Unsealed
from service.store.tables import gallery_log, samples, spaces, subject_keys, subjects, templates
from service.store.upsert import upsert

# What `TemplateOpener.open` takes, then the dimension of the space.
_SIZED_ROWS = TEMPLATE_ROWS.add_columns(spaces.c.dimension).join(
    spaces, spaces.c.space_id == templates.c.space_id
)
# Ordered by the plain column, SQLite would walk through every template of the space to save the sorting.
IN_ORDER = templates.c.template_id + 0


def _of_subject(space_id: str, token: str) -> tuple[ColumnElement[bool], ...]:
    """The templates of one subject in one space, found through its samples and not through the space."""
    own = select(samples.c.sample_id).where(samples.c.subject_id == token)
    return (
        templates.c.space_id == space_id,
        samples.c.subject_id == token,
        templates.c.sample_id.in_(own),
    )


class Templates:
    """All SQL about templates."""

    def __init__(
        self,
        connection: AsyncConnection,
        log: GalleryLog,
        search: SearchRows,
        keys: SubjectKeys,
        unsealed: Unsealed,
    ) -> None:
        self._connection, self._log, self._search = connection, log, search
        self._keys, self._unsealed = keys, unsealed

    async def add(self, space_id: str, sample_id: str, vector: NDArray[np.float32]) -> int:
        """Seals and stores float32 [d], logs it and returns its id, which is never used again.

        Raises StoreError if the space is unknown or has another dimension.
        """
        query = select(spaces.c.dimension).where(spaces.c.space_id == space_id)
        dimension = (await self._connection.execute(query)).scalar_one_or_none()
        if dimension is None or vector.shape != (dimension,):
            raise StoreError(f"the space wants vectors of {dimension}, got {vector.shape}")
        row = await self._sealed_row(space_id, sample_id, vector)
        await self._connection.execute(insert(templates).values(**row))
        template_id = int(row["template_id"])
        await self._search.add(space_id, {template_id: vector})
        await self._log.append(space_id, "add", [template_id])
        return template_id

    async def add_missing(self, space_id: str, vectors: Mapping[str, NDArray[np.float32]]) -> list[int]:
        """Adds a template (float32 [d]) for each sample that exists and has none; returns the new ids.

        Locks the rows of the samples against deletion until the transaction ends. Call
        `Spaces.lock_shared` first.
        """
        existing = (
            select(samples.c.sample_id)
            .where(samples.c.sample_id.in_(list(vectors)))
            .order_by(samples.c.sample_id)
            .with_for_update(read=True, key_share=True)
        )
        new_ids: list[int] = []
        added_vectors: dict[int, NDArray[np.float32]] = {}
        for (sample_id,) in (await self._connection.execute(existing)).all():
            # Only now, under the lock, nobody moves the sample to another subject.
            row = await self._sealed_row(space_id, sample_id, vectors[sample_id])
            added = (
                upsert(self._connection, templates)
                .values(**row)
                .on_conflict_do_nothing(index_elements=["sample_id", "space_id"])
                .returning(templates.c.template_id)
            )
            template_id = (await self._connection.execute(added)).scalar_one_or_none()
            if template_id is not None:
                new_ids.append(int(template_id))
                added_vectors[int(template_id)] = vectors[sample_id]
        await self._search.add(space_id, added_vectors)
        await self._log.append(space_id, "add", new_ids)
        return new_ids

    async def _sealed_row(self, space_id: str, sample_id: str, vector: NDArray[np.float32]) -> dict[str, Any]:
        """A row with its id, which the seal of the vector binds. Raises StoreError."""
        key = await self._keys.of_sample(sample_id)
        template_id = await self._next_id()
        sealed = key.seal(to_bytes(vector), TEMPLATE, sample_id, space_id, str(template_id))
        row = {"template_id": template_id, "space_id": space_id, "sample_id": sample_id}
        return row | {"vector": sealed}

    async def _next_id(self) -> int:
        """An id that no template ever had. SQLite has one writer, PostgreSQL a sequence."""
        if self._connection.dialect.name == "postgresql":
            query = text("SELECT nextval(pg_get_serial_sequence('templates', 'template_id'))")
            return int((await self._connection.execute(query)).scalar_one())
        query = text("SELECT seq FROM sqlite_sequence WHERE name = 'templates'")
        return int((await self._connection.execute(query)).scalar_one_or_none() or 0) + 1

    async def of_sample(self, space_id: str, sample_id: str) -> int:
        """Returns the id of a sample's template in one space. Raises StoreError if it has none there."""
        query = select(templates.c.template_id).where(
            templates.c.space_id == space_id, templates.c.sample_id == sample_id
        )
        template_id = (await self._connection.execute(query)).scalar_one_or_none()
        if template_id is None:
            raise StoreError("the sample has no template in this space")
        return int(template_id)

    async def owners(self, template_ids: Sequence[int]) -> dict[int, Owner]:
        """Maps each template id that still exists to its owner."""
        found: dict[int, Owner] = {}
        for chosen in portions(template_ids):
            query = (
                select(
                    templates.c.template_id,
                    samples.c.subject_id,
                    samples.c.sample_id,
                    samples.c.spectrum,
                    samples.c.masked,
                    *SEALED_SUBJECT,
                )
                .join(samples, samples.c.sample_id == templates.c.sample_id)
                .join(subjects, subjects.c.subject_id == samples.c.subject_id)
                .outerjoin(subject_keys, subject_keys.c.subject_id == subjects.c.subject_id)
                .where(templates.c.template_id.in_(chosen))
            )
            for template_id, *owner in await self._connection.execute(query):
                found[template_id] = self._owner(*owner)
        return found

    async def owned(self, space_id: str, template_ids: Sequence[int]) -> dict[int, OwnedTemplate]:
        """Maps the ids of those of these templates of one space that still exist to them and their owners.

        Leaves out rows that do not open, and refuses them.
        """
        opener, found = TemplateOpener(self._unsealed, space_id), dict[int, OwnedTemplate]()
        for chosen in portions(template_ids):
            query = (
                _SIZED_ROWS.add_columns(samples.c.spectrum, samples.c.masked, *SEALED_SUBJECT[:2])
                .join(subjects, subjects.c.subject_id == samples.c.subject_id)
                .where(templates.c.space_id == space_id, templates.c.template_id.in_(chosen))
            )
            for row in await self._connection.execute(query):
                if (one := self._owned(opener, row)) is not None:
                    found[row[0]] = one
        return found

    async def of_subject(self, space_id: str, subject_id: str) -> list[OwnedTemplate]:
        """Returns the templates of a subject in one space, each with its owner, in order of their ids.

        Leaves out rows that do not open, and refuses them.
        """
        own = _of_subject(space_id, await self._keys.ids.token(subject_id))
        query = (
            _SIZED_ROWS.add_columns(samples.c.spectrum, samples.c.masked, *SEALED_SUBJECT[:2])
            .join(subjects, subjects.c.subject_id == samples.c.subject_id)
            .where(*own)
            .order_by(IN_ORDER)
        )
        opener = TemplateOpener(self._unsealed, space_id)
        found = [self._owned(opener, row) for row in await self._connection.execute(query)]
        return [one for one in found if one is not None]

    def _owned(self, opener: TemplateOpener, given: Sequence[Any]) -> OwnedTemplate | None:
        """A template with its owner; None if the row does not open."""
        *row, dimension, spectrum, masked, sealed_id, sealed = given
        data = opener.open(*row)
        if data is None:
            return None
        sample_id, token, *key = row[2:]
        owner = self._owner(token, sample_id, spectrum, masked, sealed_id, sealed, *key)
        return OwnedTemplate(owner, from_bytes(data, dimension))

    def _owner(self, token: str, sample_id: str, spectrum: str, masked: bool, *sealed: Any) -> Owner:
        opened = open_subject(self._unsealed, token, *sealed)
        condition = Condition(Spectrum(spectrum), masked)
        return Owner(opened.subject_id, sample_id, opened.metadata, opened.display_name, condition)

    async def vectors_of(self, space_id: str, subject_id: str) -> NDArray[np.float32]:
        """Returns the templates of a subject in one space, float32 [n, d], or [0, 0] if it has none.

        Leaves out rows that do not open, and refuses them.
        """
        own = _of_subject(space_id, await self._keys.ids.token(subject_id))
        query = _SIZED_ROWS.where(*own).order_by(IN_ORDER)
        opener = TemplateOpener(self._unsealed, space_id)
        found = [(opener.open(*row), size) for *row, size in await self._connection.execute(query)]
        rows = [from_bytes(data, size) for data, size in found if data is not None]
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    async def count(self, space_id: str) -> int:
        query = select(func.count()).where(templates.c.space_id == space_id)
        return int((await self._connection.execute(query)).scalar_one())

    async def counted(self, space_id: str) -> tuple[int, int]:
        """The head of a space's log and the number of its templates, at one moment."""
        head = select(func.coalesce(func.max(gallery_log.c.seq), 0)).where(gallery_log.c.space_id == space_id)
        number = select(func.count()).select_from(templates).where(templates.c.space_id == space_id)
        query = select(head.scalar_subquery(), number.scalar_subquery())
        seq, count = (await self._connection.execute(query)).one()
        return int(seq), int(count)

    async def ids(self, space_id: str, after: int, limit: int) -> list[int]:
        """Returns up to `limit` ids of templates of a space that are above `after`, in order."""
        query = select(templates.c.template_id).where(
            templates.c.space_id == space_id, templates.c.template_id > after
        )
        query = query.order_by(templates.c.template_id).limit(limit)
        return [int(row[0]) for row in await self._connection.execute(query)]

    async def existing(self, space_id: str, template_ids: Sequence[int]) -> set[int]:
        """Returns those of these ids that templates of a space have."""
        found: set[int] = set()
        for chosen in portions(template_ids):
            query = select(templates.c.template_id).where(
                templates.c.space_id == space_id, templates.c.template_id.in_(chosen)
            )
            found.update(int(row[0]) for row in await self._connection.execute(query))
        return found

    async def samples_without(self, space_id: str, after: str, limit: int) -> list[str]:
        """Returns up to `limit` ids of samples without a template in this space, in order, after `after`."""
        has_template = exists().where(
            templates.c.sample_id == samples.c.sample_id, templates.c.space_id == space_id
        )
        query = (
            select(samples.c.sample_id)
            .where(samples.c.sample_id > after, ~has_template)
            .order_by(samples.c.sample_id)
            .limit(limit)
        )
        return [row[0] for row in await self._connection.execute(query)]

    async def pick_random(self, space_id: str, limit: int) -> list[StoredTemplate]:
        """Returns up to `limit` random templates of a space that open."""
        query = _SIZED_ROWS.where(templates.c.space_id == space_id).order_by(func.random()).limit(limit)
        opener, drawn = TemplateOpener(self._unsealed, space_id), []
        for *row, dimension in await self._connection.execute(query):
            if (data := opener.open(*row)) is not None:
                drawn.append(StoredTemplate(row[0], row[2], from_bytes(data, dimension)))
        return drawn

    async def count_missing(self, space_id: str) -> int:
        """Counts the samples without a template in this space."""
        joined = samples.outerjoin(
            templates,
            and_(templates.c.sample_id == samples.c.sample_id, templates.c.space_id == space_id),
        )
        query = select(func.count()).select_from(joined).where(templates.c.template_id.is_(None))
        return int((await self._connection.execute(query)).scalar_one())
