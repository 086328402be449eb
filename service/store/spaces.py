"""Embedding spaces and their states; the database itself allows one active at most."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.errors import StoreError
from service.store.records import SpaceRecord, SpaceState
from service.store.tables import spaces
from service.store.upsert import upsert

WRITABLE: tuple[SpaceState, ...] = ("backfilling", "ready", "active")
_COLUMNS = (
    spaces.c.space_id,
    spaces.c.bundle,
    spaces.c.dimension,
    spaces.c.state,
    spaces.c.created_at,
)


class Spaces:
    """All SQL about spaces."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, space_id: str) -> SpaceRecord | None:
        query = select(*_COLUMNS).where(spaces.c.space_id == space_id)
        row = (await self._connection.execute(query)).first()
        return SpaceRecord(*row) if row else None

    async def register(
        self, space_id: str, bundle: str, dimension: int, state: SpaceState = "registered"
    ) -> None:
        """Make the space known; does nothing where it is. Raises StoreError on another dimension."""
        values = {
            "space_id": space_id,
            "bundle": bundle,
            "dimension": dimension,
            "state": state,
            "created_at": datetime.now(UTC),
        }
        # Replicas that start together all register; every one but the first changes nothing.
        made = upsert(self._connection, spaces).values(values)
        await self._connection.execute(made.on_conflict_do_nothing(index_elements=["space_id"]))
        known = await self.get(space_id)
        if known is None or known.dimension != dimension:
            raise StoreError("the space is known with another dimension")

    async def set_state(self, space_id: str, state: SpaceState) -> None:
        """Raises StoreError for an unknown space or a second active one."""
        changed = update(spaces).where(spaces.c.space_id == space_id).values(state=state)
        if (await self._connection.execute(changed)).rowcount != 1:
            raise StoreError("no such embedding space")

    async def active(self) -> SpaceRecord | None:
        query = select(*_COLUMNS).where(spaces.c.state == "active")
        row = (await self._connection.execute(query)).first()
        return SpaceRecord(*row) if row else None

    async def writable(self) -> list[SpaceRecord]:
        """Spaces that an enrolment has to write a template for."""
        query = select(*_COLUMNS).where(spaces.c.state.in_(WRITABLE)).order_by(spaces.c.space_id)
        return [SpaceRecord(*row) for row in await self._connection.execute(query)]

    async def all(self) -> list[SpaceRecord]:
        query = select(*_COLUMNS).order_by(spaces.c.created_at, spaces.c.space_id)
        return [SpaceRecord(*row) for row in await self._connection.execute(query)]
