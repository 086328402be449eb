"""Walks through a source, enrols its photos several at a time, and keeps every outcome.

At most `at_once` photos are in memory, whatever the size of the source. Outcomes come in the source's
order. Photos of one subject are committed in that order too, or all photos are: the first one decides whose
face it is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from service.bulk.journal import Journal
from service.bulk.sources import Source
from service.bulk.types import BulkPhoto, Outcome, PhotoTooLarge, Rejection
from service.evaluation.thumbnails import small_jpeg

Earlier = asyncio.Task[Outcome] | None
# Enrols one photo, given its bytes and their digest. Before it stores anything it awaits `finished` for the
# task of the photo before, of the subject or of the source. What it raises ends the run, which can go on.
EnrolPhoto = Callable[[BulkPhoto, bytes, str, Earlier], Awaitable[Outcome]]


class _Last:
    """The last photo in work of each subject, or of the source."""

    def __init__(self, in_order: bool) -> None:
        self._in_order, self._tasks = in_order, dict[str, asyncio.Task[Outcome]]()

    def of(self, photo: BulkPhoto) -> Earlier:
        return self._tasks.get(self._key(photo))

    def set(self, photo: BulkPhoto, task: asyncio.Task[Outcome]) -> None:
        self._tasks[self._key(photo)] = task

    def forget(self, outcome: Outcome, task: asyncio.Task[Outcome]) -> None:
        """A photo that is no longer in work."""
        if self._tasks.get(key := self._key(outcome)) is task:
            del self._tasks[key]

    def _key(self, one: BulkPhoto | Outcome) -> str:
        return "" if self._in_order else one.subject_id or ""


async def finished(earlier: Earlier) -> None:
    """Waits for an earlier photo, whatever became of it."""
    if earlier is not None:
        await asyncio.wait([earlier])


async def enrol_all(
    source: Source, enrol: EnrolPhoto, journal: Journal, *, at_once: int, in_order: bool = False
) -> AsyncGenerator[Outcome, None]:
    """Yields what became of each entry once it is in the journal.

    `in_order`: a photo waits for the one before it even if that is of another subject.
    Raises SourceError, OSError of the journal, and what `enrol` raises; no photo is in work then.
    """
    entries = iter(source)
    working = deque[asyncio.Task[Outcome]]()
    last = _Last(in_order)
    try:
        while True:
            while len(working) < at_once and (task := await _next(entries, enrol, journal, last)) is not None:
                working.append(task)
            if not working:
                return
            task = working.popleft()
            outcome = await task
            last.forget(outcome, task)
            if not outcome.kept:
                await asyncio.to_thread(journal.add, outcome)
            yield outcome
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


async def _next(
    entries: Iterator[BulkPhoto | Rejection],
    enrol: EnrolPhoto,
    journal: Journal,
    last: _Last,
) -> asyncio.Task[Outcome] | None:
    """Begins the next entry; None after the last."""
    read = await asyncio.to_thread(_read_next, entries)
    if read is None:
        return None
    if isinstance(read, Outcome):
        task = asyncio.create_task(_as_is(read))
    else:
        photo, data, digest = read
        known = await asyncio.to_thread(journal.known, photo.name, photo.subject_id, digest)
        if known is not None:
            task = asyncio.create_task(_as_is(known))
        else:
            task = asyncio.create_task(_enrolled(enrol, photo, data, digest, last.of(photo)))
            last.set(photo, task)
    return task


def _read_next(entries: Iterator[BulkPhoto | Rejection]) -> tuple[BulkPhoto, bytes, str] | Outcome | None:
    """The next photo with its bytes and their digest, or its refusal."""
    entry = next(entries, None)
    if entry is None:
        return None
    if isinstance(entry, Rejection):
        return Outcome.of_rejection(entry)
    try:
        data = entry.read()
    except PhotoTooLarge:
        why = Rejection(entry.name, "image_too_large", "the file is too large for a photo")
        return Outcome.of_rejection(why, subject_id=entry.subject_id)
    except OSError as error:
        why = Rejection(entry.name, "unreadable_file", error.strerror or "cannot be read")
        return Outcome.of_rejection(why, subject_id=entry.subject_id)
    return entry, data, hashlib.sha256(data).hexdigest()


async def _as_is(outcome: Outcome) -> Outcome:
    return outcome


async def _enrolled(
    enrol: EnrolPhoto, photo: BulkPhoto, data: bytes, digest: str, before: Earlier
) -> Outcome:
    outcome = await enrol(photo, data, digest, before)
    # Who waits for this photo waits for those before it, even if it was refused at once.
    await finished(before)
    if outcome.code is None and not outcome.conflicts:
        return outcome
    picture = None
    with suppress(MemoryError):
        picture = await asyncio.to_thread(small_jpeg, data)
    return replace(outcome, picture=picture)
