"""The client for asyncio."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from halflight.client import operations as do
from halflight.client.archive import Archive, BulkPhoto, archive_body, photos_body
from halflight.client.connection import connection
from halflight.client.options import (
    Change,
    DoorOptions,
    EmbedOptions,
    EnrolOptions,
    IdentifyOptions,
    SeenOptions,
    SharedOptions,
    SubjectFilter,
    TrackOptions,
    VerifyOptions,
)
from halflight.client.photos import Photo
from halflight.client.retry import Retry
from halflight.client.shells import AsyncShell
from halflight.client.types import (
    Decision,
    Detections,
    Door,
    Doors,
    DoorTest,
    Embeddings,
    Enrolment,
    ErasedMany,
    Identification,
    Job,
    Merged,
    Missed,
    Readiness,
    Receipt,
    Receivers,
    ReportRow,
    Subject,
    SubjectDetail,
    TrackDecision,
    Verification,
    Watcher,
    Whoami,
)


class AsyncClient:
    """`Client` for asyncio: the same methods with the same arguments, to be awaited or iterated over.

    Photos and archives are read in threads.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        to = connection(url, key, timeout_s)
        self._url, self._retry = to["base_url"], retry
        self._http = httpx.AsyncClient(**to, verify=verify, transport=transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def enrol(
        self,
        subject_id: str,
        photos: Photo | Sequence[Photo],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[EnrolOptions],
    ) -> Enrolment:
        """Enrols 1 to 16 photos of a subject; raises Refused if none of them could be.

        `idempotency_key`: a request with the same one is done once, even if another process sends it. Without
        one, each call has its own, which makes its repetitions safe.
        """
        return await AsyncShell(self._http).run(
            do.enrol(subject_id, photos, options, idempotency_key, self._retry)
        )

    async def identify(self, image: Photo, **options: Unpack[IdentifyOptions]) -> Identification:
        """Asks who is on a picture. An unknown face is an answer."""
        return await AsyncShell(self._http).run(do.identify(image, options, self._retry))

    async def track(
        self,
        name: str,
        frames: Sequence[Photo],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[TrackOptions],
    ) -> TrackDecision:
        """Asks who one person is by the votes of 1 to 16 frames in time order, each with one face or more.

        `name`: the caller's own name of the track. `idempotency_key`: as for `enrol`.
        """
        return await AsyncShell(self._http).run(do.track(name, frames, options, idempotency_key, self._retry))

    async def verify(
        self,
        image: Photo,
        *,
        subject_id: str | None = None,
        reference: Photo | None = None,
        **options: Unpack[VerifyOptions],
    ) -> Verification:
        """Asks whether a picture shows a subject, or the face of another picture: give one of them."""
        return await AsyncShell(self._http).run(do.verify(image, subject_id, reference, options, self._retry))

    async def detect(self, image: Photo, **options: Unpack[SeenOptions]) -> Detections:
        """Returns every face of a picture with its quality."""
        return await AsyncShell(self._http).run(do.detect(image, options, self._retry))

    async def embed(self, image: Photo, **options: Unpack[EmbedOptions]) -> Embeddings:
        """Returns the templates of a picture's faces."""
        return await AsyncShell(self._http).run(do.embed(image, options, self._retry))

    def subjects(self, **wanted: Unpack[SubjectFilter]) -> AsyncGenerator[Subject, None]:
        """Yields every subject that fits everything asked for; asks for the next page when it is needed."""
        return AsyncShell(self._http).iterate(do.subjects(wanted, self._retry))

    async def subject(self, subject_id: str) -> SubjectDetail:
        """Returns one subject with its samples."""
        return await AsyncShell(self._http).run(do.subject(subject_id, self._retry))

    async def change(self, subject_id: str, /, **asked: Unpack[Change]) -> SubjectDetail:
        """Changes what is given of a subject; what is absent stays."""
        return await AsyncShell(self._http).run(do.change(subject_id, asked, self._retry))

    async def merge(self, into: str, source: str) -> Merged:
        """Moves every sample of `source` into `into`; `source` is gone. It cannot be undone."""
        return await AsyncShell(self._http).run(do.merge(into, source, self._retry))

    async def erase(self, subject_id: str, sample_id: str | None = None) -> Receipt:
        """Erases a subject, or one of its samples, and returns the receipt.

        If the connection breaks meanwhile, the subject may be gone: `erase_many` may be repeated.
        """
        return await AsyncShell(self._http).run(do.erase(subject_id, sample_id, self._retry))

    async def erase_many(self, subject_ids: Iterable[str]) -> ErasedMany:
        """Erases up to 400 subjects together, or none of them; those who are not there stop nothing."""
        return await AsyncShell(self._http).run(do.erase_many(subject_ids, self._retry))

    async def enrol_many(self, photos: Iterable[BulkPhoto], **options: Unpack[SharedOptions]) -> Job:
        """Sends photos of many subjects as they are asked for, and returns the job that enrols them.

        Never more than a photo is in memory. It is not repeated: send the same photos again if it fails, and
        none is enrolled twice.
        """
        return await AsyncShell(self._http).run(do.submit(photos_body(photos), options, self._retry))

    async def enrol_archive(self, archive: Archive, **options: Unpack[SharedOptions]) -> Job:
        """Sends a zip or tar, `<subject>/<photo>` or with a `manifest.csv`, as `enrol_many` does."""
        return await AsyncShell(self._http).run(do.submit(archive_body(archive), options, self._retry))

    async def job(self, job: Job | str) -> Job:
        """Returns a bulk enrolment as it is now."""
        return await AsyncShell(self._http).run(do.job(do.id_of(job), self._retry))

    def follow(self, job: Job | str) -> AsyncGenerator[Job, None]:
        """Yields a bulk enrolment whenever it has changed, last as it ended; outlives restarts of the service
        that are no longer than the client's patience."""
        return AsyncShell(self._http).iterate(do.follow(do.id_of(job), self._retry))

    async def report(self, job: Job | str) -> tuple[ReportRow, ...]:
        """Returns what became of each file of a bulk enrolment; kept for a day after its end."""
        return await AsyncShell(self._http).run(do.rows(do.id_of(job), self._retry))

    async def report_page(self, job: Job | str) -> str:
        """Returns the same as an HTML page, with thumbnails of what was refused."""
        return await AsyncShell(self._http).run(do.page(do.id_of(job), self._retry))

    def events(self, *, after: str | None = None, recent: int = 0) -> AsyncGenerator[Decision | Missed, None]:
        """Yields each decision of the service as it is made, without an end.

        `after`: the `place` of the last one that was seen; else it begins with the `recent` last ones. It
        takes the stream up again where it breaks, without a gap if the service still knows the place.
        """
        return AsyncShell(self._http).iterate(do.events(after, recent, self._retry))

    async def doors(self) -> Doors:
        """Returns every door, its rules and its latest outcomes. Needs the role `admin`, as all of doors."""
        return await AsyncShell(self._http).run(do.doors(self._retry))

    async def switch_door(self, door: str, *, dry_run: bool) -> Door:
        """Makes a door live, or a dry run again; only one whose file says `dry_run = "until-switched"`."""
        return await AsyncShell(self._http).run(do.switch_door(door, dry_run, self._retry))

    async def test_door(
        self, door: str, subject_id: str, camera: str, **presented: Unpack[DoorOptions]
    ) -> DoorTest:
        """Asks what the rules of a door that is a dry run say of somebody. Nothing opens."""
        asked = {"subject_id": subject_id, "camera": camera, **presented}
        return await AsyncShell(self._http).run(do.test_door(door, asked, self._retry))

    async def receivers(self) -> Receivers:
        """Returns the receivers of events, and what they have not confirmed. Needs the role `admin`."""
        return await AsyncShell(self._http).run(do.receivers(self._retry))

    async def redeliver(self, event_ids: Sequence[str] | None = None, receiver: str | None = None) -> int:
        """Sends dead events again, these or all, to one receiver or all; returns how many deliveries."""
        return (await AsyncShell(self._http).run(do.redeliver(event_ids, receiver, self._retry))).replayed

    async def report_watcher(self, name: str, report: Mapping[str, Any]) -> None:
        """Tells the service how a program that watches cameras fares; `report` as the API describes it."""
        await AsyncShell(self._http).run(do.report_watcher(name, report, self._retry))

    async def watchers(self) -> tuple[Watcher, ...]:
        """Returns what each watcher last said of itself and its cameras. Needs the role `operator`."""
        return (await AsyncShell(self._http).run(do.watchers(self._retry))).watchers

    async def ready(self) -> Readiness:
        """Asks whether the service can match."""
        return await AsyncShell(self._http).run(do.ready(self._retry))

    async def whoami(self) -> Whoami:
        """Asks what the client's own key may do."""
        return await AsyncShell(self._http).run(do.whoami(self._retry))
