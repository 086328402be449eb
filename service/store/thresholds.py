"""Stores the thresholds that administrators install for a space, by version, and which one is in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.tables import active_thresholds, threshold_versions
from service.store.upsert import upsert

_COLUMNS = (
    threshold_versions.c.version,
    threshold_versions.c.space_id,
    threshold_versions.c.document,
    threshold_versions.c.default_fmr,
    threshold_versions.c.note,
    threshold_versions.c.actor,
    threshold_versions.c.created_at,
)


@dataclass(frozen=True, slots=True)
class ThresholdVersion:
    """`document`: the table as it was installed; `default_fmr`: None for the bundle's."""

    version: int
    space_id: str
    document: Mapping[str, Any]
    default_fmr: float | None
    note: str
    actor: str
    created_at: datetime


class Thresholds:
    """All SQL about installed thresholds. Whoever writes holds the exclusive spaces lock."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(
        self,
        space_id: str,
        document: Mapping[str, Any],
        *,
        default_fmr: float | None,
        note: str,
        actor: str,
    ) -> ThresholdVersion:
        """Stores the next version."""
        highest = (await self._connection.execute(select(func.max(threshold_versions.c.version)))).scalar()
        made = ThresholdVersion(
            (highest or 0) + 1, space_id, document, default_fmr, note, actor, datetime.now(UTC)
        )
        await self.restore(made)
        return made

    async def restore(self, version: ThresholdVersion) -> None:
        """Stores a version under its own number."""
        values = {column.name: getattr(version, column.name) for column in _COLUMNS}
        values["document"] = dict(version.document)
        await self._connection.execute(insert(threshold_versions).values(values))

    async def all(self) -> list[ThresholdVersion]:
        """Every version of every space, newest first."""
        query = select(*_COLUMNS).order_by(threshold_versions.c.version.desc())
        return [ThresholdVersion(*row) for row in await self._connection.execute(query)]

    async def get(self, version: int) -> ThresholdVersion | None:
        query = select(*_COLUMNS).where(threshold_versions.c.version == version)
        row = (await self._connection.execute(query)).first()
        return ThresholdVersion(*row) if row else None

    async def active(self) -> dict[str, int]:
        """The version in force of each space that has one."""
        query = select(active_thresholds.c.space_id, active_thresholds.c.version)
        return {row.space_id: row.version for row in await self._connection.execute(query)}

    async def activate(self, space_id: str, version: int | None) -> None:
        """Puts a version in force; None for the bundle's own thresholds."""
        if version is None:
            gone = delete(active_thresholds).where(active_thresholds.c.space_id == space_id)
            await self._connection.execute(gone)
            return
        put = upsert(self._connection, active_thresholds).values(space_id=space_id, version=version)
        await self._connection.execute(
            put.on_conflict_do_update(index_elements=["space_id"], set_={"version": version})
        )
