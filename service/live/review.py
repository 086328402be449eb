"""Use cases over kept probes: look at unknown faces by person, enrol, ignore or forget one, correct a
decision."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import structlog

from faces.types import AlignedCrop, Role
from service.enrolment.enroller import Enroller
from service.enrolment.types import Accepted, Enrolment
from service.errors import EventNotFound, InvalidParameter, ProbesNotKept, SubjectNotFound, UnknownNotFound
from service.inference.engine import Description
from service.live.clusters import Cluster, clusters_of
from service.live.facts import Sighting, opened, with_reference
from service.live.keeping import ProbeKeeper
from service.matching.pipeline import inference_errors
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.probes import KeptProbe, ProbeState
from service.store.subjects import new_sample_id

SETTING = "HALFLIGHT_KEEP_PROBES_HOURS"
# n sightings need n² / 2 cosines: .3 s of one core for these, of 512 values each.
MOST_SIGHTINGS = 2000
# As many photos as one enrolment takes.
MOST_ENROLLED = 16

log = structlog.get_logger("halflight.live")


@dataclass(frozen=True, slots=True, eq=False)
class Unknowns:
    """`more`: older sightings than the newest `MOST_SIGHTINGS` are kept, and were left out."""

    clusters: tuple[Cluster, ...]
    more: bool


class Review:
    """What people do about decisions whose crops are kept. Each method raises ProbesNotKept if none are."""

    def __init__(self, db: Database, keeper: ProbeKeeper, enroller: Enroller) -> None:
        self._db, self._keeper, self._enroller = db, keeper, enroller

    def since(self) -> datetime:
        """The time from which crops are kept. What is older is not shown, erased already or not."""
        if (lasts := self._keeper.lasts) is None:
            raise ProbesNotKept(f"no crop of a probe is kept: set {SETTING} to keep them for some hours")
        return datetime.now(UTC) - lasts

    async def crop(self, event_id: str) -> bytes:
        """The aligned crop of a decision, as PNG. Raises EventNotFound, StoreError."""
        since = self.since()
        async with self._db.read() as uow:
            png = await uow.probes.crop(event_id, since)
        if png is None:
            raise EventNotFound("no crop of such an event is kept")
        return png

    async def unknowns(self, space: EmbeddingSpace) -> Unknowns:
        """Unknown faces of this space, ignored ones too, by person. Raises StoreError."""
        since = self.since()
        async with self._db.read() as uow:
            kept = await uow.probes.newest(space.space_id, ("unknown", "ignored"), since, MOST_SIGHTINGS + 1)
        return await asyncio.to_thread(_unknowns, space, kept)

    async def ignore(self, space: EmbeddingSpace, unknown_id: str, *, ignored: bool, actor: str) -> Cluster:
        """Hides an unknown face, or shows it again; returns it. Raises UnknownNotFound, StoreError."""
        cluster = await self._cluster(space, unknown_id)
        ids = [one.event_id for one in cluster.sightings]
        async with self._db.write() as uow:
            await uow.probes.set_state(ids, "ignored" if ignored else "unknown")
            detail = {"unknown_id": cluster.cluster_id, "sightings": len(ids), "ignored": ignored}
            await uow.audit.add(actor, "unknown.ignore", None, detail)
            await uow.commit()
        return cluster

    async def forget(self, space: EmbeddingSpace, unknown_id: str, *, actor: str) -> int:
        """Erases every sighting of an unknown face now; returns their number. Raises UnknownNotFound,
        StoreError."""
        cluster = await self._cluster(space, unknown_id)
        async with self._db.write(erasing=True) as uow:
            erased = await uow.probes.erase([one.event_id for one in cluster.sightings])
            detail = {"unknown_id": cluster.cluster_id, "sightings": erased}
            await uow.audit.add(actor, "unknown.forget", None, detail)
            await uow.commit()
        return erased

    async def enrol(self, space: EmbeddingSpace, unknown_id: str, request: Enrolment) -> dict[str, Any]:
        """Enrols the best sightings of an unknown face; all of them then go with the subject.

        Killed between the two, it shows the face as unknown still: repeated, it adds no sample twice.
        Raises UnknownNotFound and what `Enroller.enrol` raises of a photo.
        """
        cluster, since = await self._cluster(space, unknown_id), self.since()
        best = sorted(cluster.sightings, key=lambda one: -one.picture.quality.score)[:MOST_ENROLLED]
        accepted = [await self._accepted(space, one, since, index) for index, one in enumerate(best)]
        answer = await self._enroller.enrol_described(space, request, accepted)
        async with self._db.write() as uow:
            ids = [one.event_id for one in cluster.sightings]
            await uow.probes.set_state(ids, "named", subject_id=request.subject_id)
            await uow.commit()
        return answer

    async def correct(self, space: EmbeddingSpace, event_id: str, actual: str | None, actor: str) -> Sighting:
        """Notes that a decision was wrong, as feedback in the audit log; returns what it was about.

        `actual`: who it is, if known; otherwise the face joins the unknown ones. Raises EventNotFound,
        SubjectNotFound, InvalidParameter if the decision named nobody and nobody is named, StoreError.
        """
        since = self.since()
        async with self._db.read() as uow:
            kept = await uow.probes.get(event_id, since)
            png = None if kept is None else await uow.probes.crop(event_id, since)
            if actual is not None and await uow.subjects.get(actual) is None:
                raise SubjectNotFound(f"no subject {actual} is enrolled")
        if kept is None or png is None:
            raise EventNotFound("no such event is kept")
        seen = opened(kept)
        named = seen.facts.subject_id
        if actual == named:
            said = "nobody: name the subject it shows" if named is None else "this subject already"
            raise InvalidParameter(f"the decision names {said}")
        facts = seen.facts.model_copy(update={"subject_id": actual})
        if actual is None and kept.space_id == space.space_id:
            with inference_errors():
                (embedded,) = await space.engine.encoder.embed(await _crop(seen, png), Role.REFERENCE)
            facts = with_reference(facts, embedded)
        detail = {
            "event_id": event_id,
            "space_id": kept.space_id,
            "decision": seen.facts.decision,
            **{name: getattr(seen.facts, name) for name in ("score", "threshold", "fmr", "pair", "camera")},
        }
        async with self._db.write() as uow:
            if named is not None:
                await uow.audit.add(actor, "decision.correct", named, detail | {"says": "not this subject"})
            if actual is not None:
                await uow.audit.add(actor, "decision.correct", actual, detail | {"says": "this subject"})
            state: ProbeState = "unknown" if actual is None else "named"
            done = await uow.probes.set_state([event_id], state, subject_id=actual)
            if not done or not await uow.probes.replace_facts(event_id, facts.model_dump_json().encode()):
                raise EventNotFound("no such event is kept")
            await uow.commit()
        return seen

    async def _cluster(self, space: EmbeddingSpace, unknown_id: str) -> Cluster:
        """The cluster that has this sighting. Raises UnknownNotFound."""
        for cluster in (await self.unknowns(space)).clusters:
            if any(one.event_id == unknown_id for one in cluster.sightings):
                return cluster
        raise UnknownNotFound("no such unknown face is kept: it was enrolled, or its pictures have expired")

    async def _accepted(self, space: EmbeddingSpace, seen: Sighting, since: datetime, index: int) -> Accepted:
        """A sighting as an enrolment takes it. Its photo is gone: the crop stands for it."""
        async with self._db.read() as uow:
            png = await uow.probes.crop(seen.event_id, since)
        if png is None:
            raise UnknownNotFound("a picture of this unknown face has expired: list them again")
        crop = await _crop(seen, png)
        with inference_errors():
            embeddings = await space.engine.encoder.embed(crop, Role.REFERENCE)
        described = Description(seen.face, crop, embeddings, seen.picture.mask, seen.picture.quality)
        height, width = crop.pixels.shape[:2]
        digest = hashlib.sha256(png).hexdigest()
        return Accepted(new_sample_id(), digest, (width, height), described, (crop,), index)


def _unknowns(space: EmbeddingSpace, kept: Sequence[KeptProbe]) -> Unknowns:
    more = len(kept) > MOST_SIGHTINGS
    sightings = []
    for one in kept[-MOST_SIGHTINGS:]:
        try:
            sightings.append(opened(one))
        except ValueError:
            log.warning("the facts of a kept probe cannot be read", event_id=one.event_id)
    return Unknowns(tuple(clusters_of(sightings, space.calibration, space.cohort)), more)


async def _crop(seen: Sighting, png: bytes) -> AlignedCrop:
    """The pixels of a kept crop. Raises EventNotFound if it is no picture."""
    pixels = await asyncio.to_thread(cv2.imdecode, np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise EventNotFound("the crop of this event cannot be read")
    picture = seen.picture
    return AlignedCrop(
        np.asarray(pixels, np.uint8), seen.facts.alignment, picture.quality.inter_eye_px, picture.spectrum
    )
