"""The bulk enrolment as a job: it enrols the photos of an upload in this process.

A photo that its subject has already is known by the digest of its bytes and costs no embedding. Photos are
described several at a time, so that forward passes are full, and give way to other requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Any, TypeVar

from service.bulk.erasure import forget_gone, note_enrolled, note_people
from service.bulk.journal import Journal, Tally, people_of
from service.bulk.journal_people import Promise
from service.bulk.report import summary
from service.bulk.request import BULK, BulkRequest
from service.bulk.run import Earlier, enrol_all, finished
from service.bulk.types import CONFLICT_CODES, BulkPhoto, Conflict, ConflictKind, Outcome, SourceError
from service.bulk.uploads import BulkUploads
from service.enrolment.enroller import Enroller
from service.enrolment.types import Accepted, Enrolment, SubjectErased, SubjectSecrets
from service.errors import NotSearchableYet, RetryLater, ServiceError
from service.jobs.base import JobCancelled, JobFailed, JobHandle
from service.spaces.registry import SpaceRegistry
from service.spaces.space import EmbeddingSpace
from service.store.database import Database

WORK = "bulk"
SERVER_ERROR = 500
GIVE_WAY_S, MAX_WAIT_S = 0.02, 5.0
T = TypeVar("T")


class BulkJob:
    """`busy`: whether other requests are in work. `at_once`: photos in work while there are none."""

    name, on_accelerator = BULK, False

    def __init__(
        self,
        db: Database,
        registry: SpaceRegistry,
        enroller: Enroller,
        uploads: BulkUploads,
        *,
        busy: Callable[[], bool],
        at_once: int,
        count_enrolled: Callable[[], None],
    ) -> None:
        self._db, self._registry, self._enroller, self._uploads = db, registry, enroller, uploads
        self._busy, self._at_once, self._count_enrolled = busy, at_once, count_enrolled

    async def run(self, handle: JobHandle) -> Mapping[str, Any]:
        asked = BulkRequest.of_job(handle.request)
        try:
            return await self._run(handle, asked)
        except SourceError as error:
            raise JobFailed(str(error)) from error
        except ServiceError as error:
            raise JobFailed(f"{error.detail}; what was enrolled before stays") from error
        except OSError as error:
            raise JobFailed("the disk takes no report; what was enrolled before stays") from error

    async def _run(self, handle: JobHandle, asked: BulkRequest) -> Mapping[str, Any]:
        directory = handle.directory / WORK
        # Each outcome is committed at once, so that an erasure meanwhile meets no open transaction.
        with Journal(directory, {"upload": asked.upload}, commit_every=1) as journal:
            if journal.ended_at is not None:
                # Killed after its end: nothing is left to do.
                return handle.metrics
            source = await asyncio.to_thread(self._uploads.open, asked.upload)
            count = await asyncio.to_thread(source.count)
            # A kill may have kept this journal from what another replica erased.
            await forget_gone(self._db, journal)
            await note_enrolled(self._db, journal, source)
            enrolment = PhotoEnroller(self._db, self._registry, self._enroller, asked, self._busy, journal)
            done = 0
            outcomes = enrol_all(source, enrolment.enrol, journal, at_once=self._at_once, in_order=True)
            tally = await asyncio.to_thread(journal.tally)
            async with aclosing(outcomes) as following:
                async for one in following:
                    done += 1
                    new = one.code is None and not (one.existing or one.kept)
                    # Who was enrolled just now was noted with the commit.
                    if not one.kept and (people := people_of(one) - ({one.subject_id} if new else set())):
                        await note_people(self._db, journal, people)
                    if new:
                        self._count_enrolled()
                    if handle.cancelled():
                        break
                    if done % self._at_once == 0:
                        tally = await asyncio.to_thread(journal.tally)
                    said = f"{done} of {count.entries} files, {tally.refused} refused"
                    await handle.report_progress(
                        0.99 * done / max(1, count.entries), "enrolling", said, _metrics(tally, count.entries)
                    )
            await forget_gone(self._db, journal)
            tally = await asyncio.to_thread(journal.tally)
            metrics = _metrics(tally, count.entries)
            await handle.report_progress(handle.fraction, "reporting", summary(tally), metrics)
            await asyncio.to_thread(journal.end)
        if handle.cancelled():
            raise JobCancelled
        await handle.report_progress(1.0, "done", summary(tally), metrics)
        return metrics


class PhotoEnroller:
    """Enrols single photos as the request of one job says."""

    def __init__(
        self,
        db: Database,
        registry: SpaceRegistry,
        enroller: Enroller,
        asked: BulkRequest,
        busy: Callable[[], bool],
        journal: Journal,
    ) -> None:
        """`journal`: knows who was erased since the job began; none of their photos is enrolled."""
        self._db, self._registry, self._enroller, self._asked = db, registry, enroller, asked
        self._busy, self._working, self._journal = busy, 0, journal

    async def enrol(self, photo: BulkPhoto, data: bytes, digest: str, before: Earlier) -> Outcome:
        outcome = Outcome(name=photo.name, subject_id=photo.subject_id, digest=digest)
        erased = replace(outcome, code="erased", detail="the subject was erased meanwhile")
        # In a thread: it waits for whatever is being written to the journal.
        if await asyncio.to_thread(self._journal.is_gone, photo.subject_id):
            return erased
        try:
            request = self._asked.enrolment(photo, data)
            if await self._is_there(request, digest):
                return replace(outcome, existing=True)
            space, accepted = await self._described(request, data)
            await finished(before)
            answer = await _patiently(lambda: self._committed(space, request, accepted))
        except SubjectErased:
            return erased
        except ServiceError as error:
            if error.status >= SERVER_ERROR:
                raise
            kind = CONFLICT_CODES.get(error.code)
            other = error.extra.get("subject_id")
            conflicts = () if kind is None else (Conflict(kind, None if other is None else str(other)),)
            return replace(outcome, code=error.code, detail=error.detail, conflicts=conflicts)
        return replace(
            outcome,
            existing=any(sample.get("existing", False) for sample in answer["samples"]),
            conflicts=tuple(
                Conflict(ConflictKind.TWO_SUBJECTS, str(one["subject_id"]), float(one["score"]))
                for one in answer["duplicates"]
            ),
        )

    async def _is_there(self, request: Enrolment, digest: str) -> bool:
        """Whether the subject has this photo, and all else that the request says of it."""
        if request.consent is not None or request.expires_at is not None:
            return False
        async with self._db.read() as uow:
            if await uow.samples.with_digest(request.subject_id, digest) is None:
                return False
            known = await uow.subjects.get(request.subject_id)
        if known is None:
            return False
        same_name = request.display_name in (None, known.display_name)
        return same_name and (request.metadata is None or dict(known.metadata) == request.metadata)

    async def _described(self, request: Enrolment, data: bytes) -> tuple[EmbeddingSpace, Accepted]:
        """Raises the refusal of the photo."""
        # Other requests tell nobody when they end.
        while self._busy() and self._working:  # noqa: ASYNC110
            await asyncio.sleep(GIVE_WAY_S)
        self._working += 1
        try:
            return await _patiently(lambda: self._accepted(request, data))
        finally:
            self._working -= 1

    async def _accepted(self, request: Enrolment, data: bytes) -> tuple[EmbeddingSpace, Accepted]:
        space = self._space()
        found = await self._enroller.accept(space, request, 0, data)
        if isinstance(found, ServiceError):
            raise found
        return space, found

    async def _committed(
        self, space: EmbeddingSpace, request: Enrolment, accepted: Accepted
    ) -> dict[str, Any]:
        """Enrols under a key that the journal knows before: an erasure finds the subject at any time after
        the commit, and no later photo brings it back. Raises SubjectErased."""
        subject, secrets = request.subject_id, SubjectSecrets.new()
        if await asyncio.to_thread(self._journal.is_gone, subject):
            raise SubjectErased
        earlier = await asyncio.to_thread(self._journal.key_id_of, subject)
        if earlier is None:
            promise = Promise(secrets.key.key_id, secrets.audit_name)
            await asyncio.to_thread(self._journal.promise, subject, promise)
        asked = replace(request, secrets=secrets, earlier_key_id=earlier)
        try:
            answer = await self._enroller.enrol_described(space, asked, [accepted])
        except NotSearchableYet:
            if not await self._is_noted(subject):
                raise SubjectErased from None
            raise
        except (ServiceError, SubjectErased):
            await asyncio.to_thread(self._journal.withdraw, subject)
            raise
        await self._is_noted(subject)
        return answer

    async def _is_noted(self, subject_id: str) -> bool:
        """Notes the key of a subject that was enrolled a moment ago. False: it was erased since, though that
        may not have got to the journal yet."""
        if await note_people(self._db, self._journal, [subject_id]):
            return True
        await asyncio.to_thread(self._journal.forget_people, [subject_id])
        return False

    def _space(self) -> EmbeddingSpace:
        space = self._registry.active
        if space is None:
            raise JobFailed("no space is active")
        return space


async def _patiently(act: Callable[[], Awaitable[T]]) -> T:
    """Does it again as long as the service is at its limit: a job has time. Raises what else `act` raises."""
    while True:
        try:
            return await act()
        except RetryLater as error:
            await asyncio.sleep(min(error.retry_after_s or 1, MAX_WAIT_S))


def _metrics(tally: Tally, files: int) -> dict[str, Any]:
    """The numbers of a job. They name nobody."""
    return {"files": files} | asdict(tally)
