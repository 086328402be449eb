"""Embedding spaces, their states and their bundles; the database itself allows one active at most."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.errors import StoreError
from service.store.records import BundleRecord, NewBundle, SpaceRecord, SpaceState
from service.store.tables import backfills, bundles, gallery_log, spaces, templates
from service.store.upsert import upsert

WRITABLE: tuple[SpaceState, ...] = ("backfilling", "ready", "active")
# PostgreSQL's advisory lock of this database: writers of templates share it, changes of state own it.
SPACES_LOCK = 0x48A20
_COLUMNS = (
    spaces.c.space_id,
    spaces.c.bundle,
    spaces.c.dimension,
    spaces.c.state,
    spaces.c.created_at,
)
_BUNDLE = (
    bundles.c.space_id,
    bundles.c.digest,
    bundles.c.name,
    bundles.c.version,
    bundles.c.metrics,
    bundles.c.registered_at,
)


async def hold(connection: AsyncConnection) -> None:
    """Until the transaction ends no space changes its state: what is writable now stays so.

    Taken before any row is locked. SQLite has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock_shared(SPACES_LOCK)))


class Spaces:
    """All SQL about spaces."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def hold(self) -> None:
        """See `hold`."""
        await hold(self._connection)

    async def own(self) -> None:
        """Wait until nobody writes templates, and let nobody begin until the transaction ends."""
        if self._connection.dialect.name == "postgresql":
            await self._connection.execute(select(func.pg_advisory_xact_lock(SPACES_LOCK)))

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

    async def move(self, space_id: str, origin: Sequence[SpaceState], state: SpaceState) -> bool:
        """Compare and set: false where the space is in none of the states it should come from."""
        changed = (
            update(spaces)
            .where(spaces.c.space_id == space_id, spaces.c.state.in_(list(origin)))
            .values(state=state)
        )
        return (await self._connection.execute(changed)).rowcount == 1

    async def activate(self, space_id: str) -> bool:
        """Ready becomes active and active becomes ready; false where the space is not ready.

        The former one stays writable, so that the way back is the same step.
        """
        await self._connection.execute(update(spaces).where(spaces.c.state == "active").values(state="ready"))
        return await self.move(space_id, ("ready",), "active")

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

    async def add_bundle(self, bundle: NewBundle) -> None:
        """The space is served from this bundle from now on."""
        await self._connection.execute(delete(bundles).where(bundles.c.digest == bundle.digest))
        await self._connection.execute(
            insert(bundles).values(
                digest=bundle.digest,
                space_id=bundle.space_id,
                name=bundle.name,
                version=bundle.version,
                metrics=dict(bundle.metrics),
                registered_at=datetime.now(UTC),
            )
        )
        await self._connection.execute(
            update(spaces).where(spaces.c.space_id == bundle.space_id).values(bundle=bundle.name)
        )

    async def knows_bundle(self, digest: str) -> bool:
        query = select(bundles.c.bundle_id).where(bundles.c.digest == digest)
        return (await self._connection.execute(query)).first() is not None

    async def serving(self) -> dict[str, BundleRecord]:
        """The newest bundle of each space."""
        newest = select(func.max(bundles.c.bundle_id)).group_by(bundles.c.space_id)
        query = select(*_BUNDLE).where(bundles.c.bundle_id.in_(newest))
        return {row[0]: BundleRecord(*row) for row in await self._connection.execute(query)}

    async def delete(self, space_id: str) -> list[str]:
        """Erase a space with its templates and its log; the digests of its bundles."""
        query = select(bundles.c.digest).where(bundles.c.space_id == space_id)
        digests = [row[0] for row in await self._connection.execute(query)]
        for table in (templates, gallery_log, backfills, bundles, spaces):
            await self._connection.execute(delete(table).where(table.c.space_id == space_id))
        return digests
