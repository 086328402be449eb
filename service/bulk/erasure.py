"""Takes erased subjects out of what jobs keep on the disk: journals and photos in work of bulk enrolments.

Reports of evaluations are `service.retraining.report_erasure`'s.

An erasure tells the ids of the keys that it shredded, and a journal knows those of the subjects that it
names. This replica is told at once, after the commit; what another replica erased, or a kill left, is found
when a job ends, when a report is asked for, and every hour. No later photo of a job brings an erased subject
back (`service.bulk.job`). A name that belongs to no enrolled subject goes with the report, a day after
the job's end.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from service.bulk.journal import JOURNAL, Journal
from service.bulk.report import PAGE
from service.bulk.sources import Source
from service.bulk.types import BulkPhoto
from service.bulk.uploads import forget_photos
from service.jobs.child import job_directory
from service.moving.book import forgetting
from service.retraining.report_erasure import forget_reports, look_through_reports
from service.settings import Settings
from service.store.database import Database

BULK_FILES = "bulk"
# Reports show faces and name subjects.
REPORT_KEPT = timedelta(days=1)
PORTION = 500

log = structlog.get_logger("halflight.bulk")


def after_erasure(settings: Settings) -> Callable[[Sequence[str]], None]:
    """What an erasure calls with the ids of the keys that it shredded: for the key book of backups, and the
    files of jobs. It blocks."""
    forget_in_book = forgetting(settings.backup_keys)

    def forget(key_ids: Sequence[str]) -> None:
        if forget_in_book is not None:
            forget_in_book(key_ids)
        forget_keys(settings.data_dir, set(key_ids))

    return forget


def forget_keys(data_dir: Path, key_ids: Collection[str]) -> None:
    """Takes the subjects of these keys out of every job's files of this data directory."""
    try:
        forget_reports(job_directory(data_dir), key_ids)
    except OSError as error:
        # The next round tries again, here as below.
        log.error("a report still names an erased subject", cause=type(error).__name__)
    for directory in kept_journals(data_dir):
        try:
            with Journal(directory, None) as journal:
                erased = journal.forget(key_ids)
                if erased and (upload := journal.asked.get("upload")):
                    forget_photos(data_dir / BULK_FILES, str(upload), erased)
        except OSError as error:
            log.error("a job still names an erased subject", cause=type(error).__name__)


def kept_journals(data_dir: Path) -> Iterator[Path]:
    """The directories of the journals of jobs."""
    for file in job_directory(data_dir).glob(f"*/{BULK_FILES}/{JOURNAL}"):
        yield file.parent


async def forget_gone(db: Database, journal: Journal) -> list[str]:
    """Learns the keys of subjects that were enrolled since, then forgets those whose keys are gone; returns
    their ids. Raises StoreError, OSError."""
    gone, after = list[str](), ""
    while people := await asyncio.to_thread(journal.unknown_people, PORTION, after):
        there = await note_people(db, journal, people)
        # Erased before anybody noted the key.
        gone += [one for one, was_enrolled in people.items() if was_enrolled and one not in there]
        after = max(people)
    # Before the database is asked: whoever is enrolled in between is not in what it answers.
    promised = await asyncio.to_thread(journal.promised)
    known = await asyncio.to_thread(journal.key_ids)
    async with db.read() as uow:
        # Before the keys: an enrolment that is committed in between would look erased.
        written = await uow.audit.written_names([one.audit_name for one in promised.values()])
        left = await uow.subject_keys.key_ids()
    known |= {one.key_id for one in promised.values() if one.audit_name in written}

    def forget() -> list[str]:
        return journal.forget_people(gone) + journal.forget(known - left)

    return await asyncio.to_thread(forget)


async def look_through(db: Database, data_dir: Path) -> None:
    """Removes old reports, and takes out of the others whoever is gone. Raises StoreError."""
    await asyncio.to_thread(_remove_written_reports, data_dir)
    try:
        await look_through_reports(db, job_directory(data_dir))
    except OSError as error:
        log.error("a report of an evaluation cannot be removed", cause=type(error).__name__)
    for directory in await asyncio.to_thread(lambda: list(kept_journals(data_dir))):
        try:
            with await asyncio.to_thread(Journal, directory, None) as journal:
                ended_at, asked = journal.ended_at, journal.asked
                erased = await forget_gone(db, journal)
            if ended_at is not None and ended_at < datetime.now(UTC) - REPORT_KEPT:
                await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
            elif erased and "upload" in asked:
                root = data_dir / BULK_FILES
                await asyncio.to_thread(forget_photos, root, str(asked["upload"]), erased)
        except OSError as error:
            log.error("the journal of a job cannot be read", cause=type(error).__name__)


def _remove_written_reports(data_dir: Path) -> None:
    """Those that an earlier version wrote to files."""
    for page in job_directory(data_dir).glob(f"*/{BULK_FILES}/{PAGE}"):
        if page.stat().st_mtime < time.time() - REPORT_KEPT.total_seconds():
            shutil.rmtree(page.parent, ignore_errors=True)


async def note_enrolled(db: Database, journal: Journal, source: Source) -> None:
    """Notes the keys of the subjects of a source that are enrolled already. Raises StoreError, OSError,
    SourceError."""
    entries = iter(source)
    while portion := await asyncio.to_thread(_subjects_of, entries):
        await note_people(db, journal, portion)


def _subjects_of(entries: Iterator[object]) -> set[str]:
    """The subjects of the next entries, as many as a query takes; empty after the last."""
    found = set[str]()
    for entry in entries:
        found.add(entry.subject_id if isinstance(entry, BulkPhoto) else "")
        if len(found) >= PORTION:
            break
    return found


async def note_people(db: Database, journal: Journal, subject_ids: Collection[str]) -> Collection[str]:
    """Notes the keys of those of the subjects that are enrolled, and returns these. Raises StoreError,
    OSError."""
    async with db.read() as uow:
        keys = await uow.subject_keys.of_subjects(sorted(subject_ids))
    await asyncio.to_thread(journal.note, {subject: key.key_id for subject, key in keys.items()})
    return keys.keys()
