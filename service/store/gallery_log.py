"""Stores the log that galleries follow: added and removed templates in an order without gaps."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.errors import StoreError
from service.store.opening import SEALED_TEMPLATE, TEMPLATE_ROWS, TemplateOpener
from service.store.records import LogEntry, Snapshot
from service.store.refused import template_name
from service.store.snapshot_keys import forget_segments
from service.store.spaces import lock_spaces_shared
from service.store.subject_keys import Unsealed
from service.store.tables import gallery_log, samples, spaces, subject_keys, templates

FLOAT = np.dtype("<f4")
Ids = NDArray[np.int64]
Floats = NDArray[np.float32]
ROWS_AT_ONCE = 2000


def to_bytes(vector: NDArray[np.float32]) -> bytes:
    """Encodes float32 [d] as little-endian bytes."""
    return np.ascontiguousarray(vector, FLOAT).tobytes()


def from_bytes(data: bytes, dimension: int) -> NDArray[np.float32]:
    """Decodes little-endian bytes to float32 [dimension]. Raises StoreError if the length differs."""
    if len(data) != dimension * FLOAT.itemsize:
        raise StoreError("a stored vector has not the dimension of its space")
    return np.frombuffer(data, FLOAT).astype(np.float32)


class GalleryLog:
    """All SQL about the log. A lock on the space's row guards the allocation of sequence numbers.

    Numbers of a plain database sequence commit out of order, and a reader of the tail would then skip
    rows for good. The row lock makes the order of commits the order of numbers.
    """

    def __init__(self, connection: AsyncConnection, unsealed: Unsealed) -> None:
        self._connection, self._unsealed = connection, unsealed
        # The ids of templates that this unit of work removes, by their space.
        self.removals: dict[str, list[int]] = {}

    async def append(self, space_id: str, op: str, template_ids: Sequence[int]) -> None:
        """Appends one row for each template. Raises StoreError if the space is unknown.

        A removal ends every snapshot of its templates.
        """
        if not template_ids:
            return
        if op == "remove":
            self.removals.setdefault(space_id, []).extend(template_ids)
        allocated = (
            update(spaces)
            .where(spaces.c.space_id == space_id)
            .values(next_seq=spaces.c.next_seq + len(template_ids))
            .returning(spaces.c.next_seq)
        )
        after = (await self._connection.execute(allocated)).scalar_one_or_none()
        if after is None:
            raise StoreError("no such embedding space")
        first = int(after) - len(template_ids)
        rows = [
            {"space_id": space_id, "seq": first + i, "template_id": template_id, "op": op}
            for i, template_id in enumerate(template_ids)
        ]
        await self._connection.execute(insert(gallery_log), rows)
        if op == "remove":
            # After the lock of the space's row: no key of an erased template is made meanwhile.
            await forget_segments(self._connection, space_id, template_ids)

    async def append_removals(self, token: str, sample_id: str) -> int:
        """Logs the removal of the templates of one sample of a subject, and returns their number."""
        chosen = select(samples.c.sample_id).where(
            samples.c.subject_id == token, samples.c.sample_id == sample_id
        )
        return sum((await self._append_removals(chosen)).values())

    async def append_removals_of(self, tokens: Sequence[str]) -> dict[str, int]:
        """Logs the removal of every template of these subjects, and returns their number by token."""
        return await self._append_removals(
            select(samples.c.sample_id).where(samples.c.subject_id.in_(list(tokens)))
        )

    async def _append_removals(self, chosen: Select[tuple[str]]) -> dict[str, int]:
        """Logs the removal of the templates of the chosen samples.

        Locks the rows of the samples first. A template that another transaction adds to one of them is
        then either seen here or refused there, and never erased without a row in the log.
        """
        await lock_spaces_shared(self._connection)
        await self._connection.execute(chosen.order_by(samples.c.sample_id).with_for_update())
        query = (
            select(templates.c.space_id, templates.c.template_id, samples.c.subject_id)
            .join(samples, samples.c.sample_id == templates.c.sample_id)
            .where(samples.c.sample_id.in_(chosen))
            .order_by(templates.c.space_id, templates.c.template_id)
        )
        by_space: dict[str, list[int]] = {}
        by_subject: Counter[str] = Counter()
        for space_id, template_id, token in await self._connection.execute(query):
            by_space.setdefault(space_id, []).append(template_id)
            by_subject[token] += 1
        # One order everywhere, so that two erasures never wait for each other's space row.
        for space_id in sorted(by_space):
            await self.append(space_id, "remove", by_space[space_id])
        return by_subject

    async def head(self, space_id: str) -> int:
        """Returns the newest sequence number, 0 for an empty log."""
        query = select(func.max(gallery_log.c.seq)).where(gallery_log.c.space_id == space_id)
        return int((await self._connection.execute(query)).scalar_one() or 0)

    async def tail(self, space_id: str, after_seq: int, limit: int) -> list[LogEntry]:
        """Returns up to `limit` entries after `after_seq`. The vector of a row that does not open is None.

        Raises StoreError if a vector has not the dimension of the space.
        """
        query = (
            select(
                gallery_log.c.seq,
                gallery_log.c.op,
                gallery_log.c.template_id,
                spaces.c.dimension,
                *SEALED_TEMPLATE,
            )
            .join(spaces, spaces.c.space_id == gallery_log.c.space_id)
            .outerjoin(templates, templates.c.template_id == gallery_log.c.template_id)
            .outerjoin(samples, samples.c.sample_id == templates.c.sample_id)
            .outerjoin(subject_keys, subject_keys.c.subject_id == samples.c.subject_id)
            .where(gallery_log.c.space_id == space_id, gallery_log.c.seq > after_seq)
            .order_by(gallery_log.c.seq)
            .limit(limit)
        )
        opener, entries = TemplateOpener(self._unsealed, space_id), []
        for seq, op, template_id, dimension, *row in await self._connection.execute(query):
            data = opener.open(*row) if op == "add" and row[0] is not None else None
            vector = None if data is None else from_bytes(data, dimension)
            entries.append(LogEntry(seq, op, template_id, vector))
            if op == "remove":
                self._unsealed.refused.discard(template_name(template_id))
        return entries

    async def snapshot(self, space_id: str) -> Snapshot:
        """Opens every template of a space, and reads a sequence number that the rows include.

        Leaves out rows that do not open, and refuses them. Raises StoreError if a vector does not have
        the dimension of the space.
        """
        # The number comes first: a commit in between appears in the rows and again in the tail.
        seq = await self.head(space_id)
        parts = [part async for part in self.every(space_id)]
        dimension = await self._dimension(space_id)
        ids = np.concatenate([np.empty(0, np.int64), *(ids for ids, _ in parts)])
        rows = np.concatenate([np.empty((0, dimension), np.float32), *(rows for _, rows in parts)])
        return Snapshot(seq, ids, rows)

    async def every(
        self, space_id: str, first: int | None = None, stop: int | None = None
    ) -> AsyncIterator[tuple[Ids, Floats]]:
        """Opens every template of a space, in order of their ids: int64 [n] and float32 [n, d] at a time.

        `first`, `stop`: only those from an id on, and below another.

        Read `head` before: the log after it leads to the present. Leaves out rows that do not open, and
        refuses them. Raises StoreError.
        """
        dimension = await self._dimension(space_id)
        query = TEMPLATE_ROWS.where(templates.c.space_id == space_id).order_by(templates.c.template_id)
        if first is not None:
            query = query.where(templates.c.template_id >= first)
        if stop is not None:
            query = query.where(templates.c.template_id < stop)
        opener = TemplateOpener(self._unsealed, space_id)
        result = await self._connection.stream(query)
        async for rows in result.partitions(ROWS_AT_ONCE):
            # In a thread: other requests go on between the bytecodes.
            opened = await asyncio.to_thread(opener.open_all, rows)
            if any(len(data) != dimension * FLOAT.itemsize for _, data in opened):
                raise StoreError("a stored vector has not the dimension of its space")
            ids = np.array([template_id for template_id, _ in opened], np.int64)
            joined = np.frombuffer(b"".join([data for _, data in opened]), FLOAT)
            yield ids, joined.astype(np.float32, copy=False).reshape(len(ids), dimension)

    async def _dimension(self, space_id: str) -> int:
        """Raises StoreError."""
        query = select(spaces.c.dimension).where(spaces.c.space_id == space_id)
        dimension = (await self._connection.execute(query)).scalar_one_or_none()
        if dimension is None:
            raise StoreError("no such embedding space")
        return int(dimension)
