"""Stores embedding spaces, their states and their bundles. The database allows one active space."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.errors import StoreError
from service.store.locks import advisory_lock
from service.store.records import BundleRecord, NewBundle, SpaceRecord, SpaceState
from service.store.tables import (
    active_thresholds,
    backfills,
    bundles,
    gallery_log,
    snapshot_keys,
    spaces,
    templates,
    threshold_versions,
)
from service.store.upsert import upsert

WRITABLE: tuple[SpaceState, ...] = ("backfilling", "ready", "active")
# PostgreSQL's advisory lock: writers of templates take it shared, changes of state exclusive.
SPACES_LOCK = 0x48A20
ENROLMENT_LOCK = 0x48A1E
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


async def lock_spaces_shared(connection: AsyncConnection) -> None:
    """Takes the shared spaces lock until the transaction ends, so that no space changes its state.

    Take it before locking any row.
    """
    await advisory_lock(connection, SPACES_LOCK, shared=True)


class Spaces:
    """All SQL about spaces."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.deleted = False

    async def lock_enrolments(self) -> None:
        """Lets no other checked enrolment commit until the transaction ends.

        Taken before every other lock, so that no two transactions wait for each other.
        """
        await advisory_lock(self._connection, ENROLMENT_LOCK)

    async def lock_shared(self) -> None:
        """Takes the shared spaces lock until the transaction ends; see `lock_spaces_shared`."""
        await lock_spaces_shared(self._connection)

    async def lock_exclusive(self) -> None:
        """Takes the exclusive spaces lock until the transaction ends, so that nobody writes templates."""
        await advisory_lock(self._connection, SPACES_LOCK)

    async def get(self, space_id: str) -> SpaceRecord | None:
        query = select(*_COLUMNS).where(spaces.c.space_id == space_id)
        row = (await self._connection.execute(query)).first()
        return SpaceRecord(*row) if row else None

    async def register(
        self, space_id: str, bundle: str, dimension: int, state: SpaceState = "registered"
    ) -> None:
        """Adds the space unless it is known. Raises StoreError if it is known with another dimension."""
        values = {
            "space_id": space_id,
            "bundle": bundle,
            "dimension": dimension,
            "state": state,
            "created_at": datetime.now(UTC),
        }
        # Replicas that start together all register; only the first changes anything.
        inserted = upsert(self._connection, spaces).values(values)
        await self._connection.execute(inserted.on_conflict_do_nothing(index_elements=["space_id"]))
        known = await self.get(space_id)
        if known is None or known.dimension != dimension:
            raise StoreError("the space is known with another dimension")

    async def set_state(self, space_id: str, state: SpaceState) -> None:
        """Sets the state. Raises StoreError if the space is unknown or would be a second active one."""
        changed = update(spaces).where(spaces.c.space_id == space_id).values(state=state)
        if (await self._connection.execute(changed)).rowcount != 1:
            raise StoreError("no such embedding space")

    async def transition(self, space_id: str, origin: Sequence[SpaceState], state: SpaceState) -> bool:
        """Sets the state if it is one of `origin` (compare and set); returns whether it was."""
        changed = (
            update(spaces)
            .where(spaces.c.space_id == space_id, spaces.c.state.in_(list(origin)))
            .values(state=state)
        )
        return (await self._connection.execute(changed)).rowcount == 1

    async def activate(self, space_id: str) -> bool:
        """Activates a ready space and makes the active one ready; returns false if the space is not ready.

        The former space stays writable, so that the same step leads back.
        """
        await self._connection.execute(update(spaces).where(spaces.c.state == "active").values(state="ready"))
        return await self.transition(space_id, ("ready",), "active")

    async def active(self) -> SpaceRecord | None:
        query = select(*_COLUMNS).where(spaces.c.state == "active")
        row = (await self._connection.execute(query)).first()
        return SpaceRecord(*row) if row else None

    async def writable(self) -> list[SpaceRecord]:
        """Returns the spaces that an enrolment writes templates to."""
        query = select(*_COLUMNS).where(spaces.c.state.in_(WRITABLE)).order_by(spaces.c.space_id)
        return [SpaceRecord(*row) for row in await self._connection.execute(query)]

    async def all(self) -> list[SpaceRecord]:
        query = select(*_COLUMNS).order_by(spaces.c.created_at, spaces.c.space_id)
        return [SpaceRecord(*row) for row in await self._connection.execute(query)]

    async def add_bundle(self, bundle: NewBundle) -> None:
        """Makes this the newest bundle of its space, from which the service serves the space."""
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

    async def has_bundle(self, digest: str) -> bool:
        query = select(bundles.c.bundle_id).where(bundles.c.digest == digest)
        return (await self._connection.execute(query)).first() is not None

    async def newest_bundles(self) -> dict[str, BundleRecord]:
        """Maps each space to its newest bundle."""
        newest = select(func.max(bundles.c.bundle_id)).group_by(bundles.c.space_id)
        query = select(*_BUNDLE).where(bundles.c.bundle_id.in_(newest))
        return {row[0]: BundleRecord(*row) for row in await self._connection.execute(query)}

    async def delete(self, space_id: str) -> list[str]:
        """Deletes a space with its templates and its log, and returns the digests of its bundles."""
        query = select(bundles.c.digest).where(bundles.c.space_id == space_id)
        digests = [row[0] for row in await self._connection.execute(query)]
        thresholds = (active_thresholds, threshold_versions)
        self.deleted = True
        for table in (templates, gallery_log, snapshot_keys, backfills, bundles, *thresholds, spaces):
            await self._connection.execute(delete(table).where(table.c.space_id == space_id))
        return digests
