"""Stores which doors an administrator has switched: live or a dry run, of those that may be switched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.tables import door_modes
from service.store.upsert import upsert


class DoorModes:
    """All SQL about switched doors."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def live(self) -> frozenset[str]:
        """The names of the doors that were last switched to be live."""
        found = await self._connection.execute(select(door_modes.c.door).where(door_modes.c.live))
        return frozenset(found.scalars())

    async def switch(self, door: str, *, live: bool, actor: str) -> None:
        """Notes how a door was switched, in place of what was noted before."""
        values = {"live": live, "actor": actor, "at": datetime.now(UTC)}
        added = upsert(self._connection, door_modes).values(door=door, **values)
        await self._connection.execute(added.on_conflict_do_update(index_elements=["door"], set_=values))

    async def forget(self, doors: Sequence[str]) -> None:
        """Forgets that these were ever switched."""
        await self._connection.execute(delete(door_modes).where(door_modes.c.door.in_(doors)))
