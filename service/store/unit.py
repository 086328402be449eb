"""Defines the unit of work: one connection, one transaction, all repositories."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.access import Idempotency, Keys
from service.store.audit import Audit
from service.store.backfills import Backfills
from service.store.crops import Crops
from service.store.door_modes import DoorModes
from service.store.gallery_log import GalleryLog
from service.store.jobs import Jobs
from service.store.outbox import Outbox
from service.store.probes import Probes
from service.store.retention import RetentionClock
from service.store.search_rows import SearchRows
from service.store.snapshot_keys import SnapshotKeys
from service.store.spaces import Spaces
from service.store.subject_keys import SubjectKeys, Unsealed
from service.store.subjects import Samples, Subjects
from service.store.templates import Templates
from service.store.terms import Terms
from service.store.thresholds import Thresholds
from service.store.track_answers import TrackAnswers


class UnitOfWork:
    """The repositories of one transaction. `Database.read` and `Database.write` open and close it."""

    def __init__(self, connection: AsyncConnection, unsealed: Unsealed) -> None:
        self.connection, self.refused, self._outside = connection, unsealed.refused, unsealed.outside
        self.committed = False
        self.subject_keys = SubjectKeys(connection, unsealed)
        self.log = GalleryLog(connection, unsealed)
        self.snapshots = SnapshotKeys(connection, self.subject_keys, unsealed)
        self.spaces = Spaces(connection)
        self.backfills = Backfills(connection)
        self.thresholds = Thresholds(connection)
        self.crops = Crops(connection, self.subject_keys)
        self.search = SearchRows(connection, self.subject_keys.ids, unsealed)
        self.templates = Templates(connection, self.log, self.search, self.subject_keys, unsealed)
        self.subjects = Subjects(connection, self.log, self.subject_keys, unsealed)
        self.terms = Terms(connection, self.subject_keys, unsealed)
        self.samples = Samples(connection, self.log, self.subject_keys)
        self.keys = Keys(connection)
        self.audit = Audit(connection, self.subject_keys)
        self.idempotency = Idempotency(connection, self.subject_keys)
        self.jobs = Jobs(connection)
        self.probes = Probes(connection, self.subject_keys, unsealed)
        self.outbox = Outbox(connection, self.subject_keys, unsealed)
        self.tracks = TrackAnswers(connection, self.subject_keys, unsealed)
        self.clock = RetentionClock(connection)
        self.door_modes = DoorModes(connection)

    async def commit(self) -> None:
        """Erases what names erased subjects elsewhere, writes the audit entries and commits.

        Raises StoreError, and SQLAlchemyError, which `Database` turns into it.
        """
        if self.subject_keys.shredded:
            await self.probes.erase_of(self.subject_keys.shredded)
            await self.outbox.erase_of(self.subject_keys.shredded)
            await self.tracks.erase_of(self.subject_keys.shredded)
        if self._outside is not None and self.log.removals:
            # What cannot be removed there just now is not erased here either.
            await asyncio.to_thread(self._outside.ping)
        await self.audit.write()
        await self.connection.commit()
        self.committed = True

    @property
    def removed_templates(self) -> bool:
        """Whether templates went."""
        return bool(self.log.removals) or self.spaces.deleted
