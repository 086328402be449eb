"""Stores the keys that gallery snapshots are sealed under, wrapped under the master key.

A snapshot holds templates in segments by their ids, each sealed under a key of its own that all replicas
share. The transaction that erases a template deletes the key of its segment, so that from its commit on no
snapshot of any replica, and no copy of one, shows the template.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import KEY_BYTES, MasterKeyError, SealBroken
from service.sealing.segments import segment_of
from service.store.portions import portions
from service.store.subject_keys import SubjectKeys, Unsealed
from service.store.tables import gallery_log, snapshot_keys, spaces

# Keys of heads that are kept for a space: each replica has two, and kills and lost replicas leave some.
HEADS = 64
KIND, HEAD = "snapshot key", "head"


@dataclass(frozen=True, slots=True, repr=False)
class SnapshotKey:
    """`raw` seals a head or a segment; never log or store it. `key_id` names it."""

    key_id: str
    raw: bytes


async def forget_segments(connection: AsyncConnection, space_id: str, template_ids: Iterable[int]) -> None:
    """Deletes the keys of the segments of these templates. The caller holds the lock of the space's row."""
    for chosen in portions(sorted({segment_of(one) for one in template_ids})):
        gone = snapshot_keys.c.space_id == space_id, snapshot_keys.c.segment.in_(chosen)
        await connection.execute(delete(snapshot_keys).where(*gone))


class SnapshotKeys:
    """All SQL about the keys of snapshots."""

    def __init__(self, connection: AsyncConnection, keys: SubjectKeys, unsealed: Unsealed) -> None:
        self._connection, self._keys, self._unsealed = connection, keys, unsealed

    async def segments(self, space_id: str) -> dict[int, SnapshotKey]:
        """The keys of a space's segments that open, by segment."""
        query = select(snapshot_keys).where(
            snapshot_keys.c.space_id == space_id, snapshot_keys.c.segment.is_not(None)
        )
        found = {}
        for key_id, _, segment, master_id, wrapped, _ in await self._connection.execute(query):
            raw = self._opened(space_id, str(segment), key_id, master_id, wrapped)
            if raw is not None:
                found[int(segment)] = SnapshotKey(key_id, raw)
        return found

    async def make_segments(self, space_id: str, segments: Sequence[int]) -> None:
        """Makes the keys of segments that have none.

        Waits for erasures in this space to commit: whoever reads the head of the log afterwards sees them.
        Raises StoreError.
        """
        # Before the lock of the space's row, as enrolments do.
        await self._keys.current_master()
        held = select(spaces.c.space_id).where(spaces.c.space_id == space_id).with_for_update()
        await self._connection.execute(held)
        known = await self.segments(space_id)
        missing = [one for one in segments if one not in known]
        for chosen in portions(missing):
            # A key that does not open is in the way of its successor.
            broken = snapshot_keys.c.space_id == space_id, snapshot_keys.c.segment.in_(chosen)
            await self._connection.execute(delete(snapshot_keys).where(*broken))
        for segment in missing:
            await self._add(space_id, segment)

    async def new_head(self, space_id: str, former: str | None = None) -> SnapshotKey:
        """Makes the key of a new head; that of a `former` one goes, and the oldest beyond `HEADS`.

        `former`: not the last, which a kill before the new head is written leaves in use. Raises StoreError.
        """
        heads = snapshot_keys.c.space_id == space_id, snapshot_keys.c.segment.is_(None)
        if former is not None:
            await self._connection.execute(
                delete(snapshot_keys).where(*heads, snapshot_keys.c.key_id == former)
            )
        newest = (
            select(snapshot_keys.c.key_id)
            .where(*heads)
            .order_by(snapshot_keys.c.created_at.desc(), snapshot_keys.c.key_id)
            .limit(HEADS - 1)
        )
        kept = [row[0] for row in await self._connection.execute(newest)]
        await self._connection.execute(
            delete(snapshot_keys).where(*heads, snapshot_keys.c.key_id.not_in(kept))
        )
        return await self._add(space_id, None)

    async def head(self, space_id: str, key_id: str) -> SnapshotKey | None:
        """The key of a head by its name; None if there is none that opens."""
        query = select(snapshot_keys.c.master_id, snapshot_keys.c.wrapped).where(
            snapshot_keys.c.space_id == space_id,
            snapshot_keys.c.key_id == key_id,
            snapshot_keys.c.segment.is_(None),
        )
        row = (await self._connection.execute(query)).first()
        raw = None if row is None else self._opened(space_id, HEAD, key_id, *row)
        return None if raw is None else SnapshotKey(key_id, raw)

    async def log_begins(self, space_id: str) -> int:
        """The oldest sequence number that the log still has, 0 for an empty log."""
        query = select(func.min(gallery_log.c.seq)).where(gallery_log.c.space_id == space_id)
        return int((await self._connection.execute(query)).scalar_one() or 0)

    async def _add(self, space_id: str, segment: int | None) -> SnapshotKey:
        key = SnapshotKey(os.urandom(16).hex(), os.urandom(KEY_BYTES))
        master = await self._keys.current_master()
        name = HEAD if segment is None else str(segment)
        await self._connection.execute(
            insert(snapshot_keys).values(
                key_id=key.key_id,
                space_id=space_id,
                segment=segment,
                master_id=master.key_id,
                wrapped=master.wrap_bytes(key.raw, KIND, space_id, name, key.key_id),
                created_at=datetime.now(UTC),
            )
        )
        return key

    def _opened(self, space_id: str, name: str, key_id: str, master_id: str, wrapped: bytes) -> bytes | None:
        try:
            master = self._unsealed.masters.find(master_id)
            return master.unwrap_bytes(wrapped, KIND, space_id, name, key_id)
        except (SealBroken, MasterKeyError):
            return None
