"""Use case: samples of a subject become templates, in one transaction, before the answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from faces.types import AlignedCrop, Face, Image, Role, Spectrum
from service.crops import CropVault, every_crop
from service.errors import (
    DuplicateFace,
    IdempotencyConflict,
    LowQuality,
    MultipleFaces,
    NoFace,
    NotReady,
    RetryLater,
    SampleNotFound,
    ServiceError,
    SubjectNotFound,
)
from service.inference.engine import Description
from service.inference.quality import Quality
from service.intake import Intake, refusals
from service.settings import Settings
from service.spaces import EmbeddingSpace, SpaceRegistry
from service.store.database import Database
from service.store.errors import IdempotencyTaken, StoreError
from service.store.people import new_sample_id
from service.store.records import Erased, NewSample, SealedCrop

SECOND_FACE_SHARE = 0.5
MIDDLE = 0.2
DUPLICATE_HITS = 20
COMMIT_ATTEMPTS = 5
# Of each space: a unit vector for each accepted image, or None where its networks fail.
Vectors = dict[str, list[NDArray[np.float32]] | None]

log = structlog.get_logger("halflight.enrolment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What a client asks for. `actor` is the key it used, for the audit log."""

    subject_id: str
    images: tuple[bytes, ...]
    metadata: dict[str, Any] | None
    spectrum: Spectrum
    allow_duplicate: bool
    actor: str
    idempotency_key: str | None = None

    def digest(self) -> str:
        """Two requests with one idempotency key must agree in this."""
        parts = [hashlib.sha256(data).hexdigest() for data in self.images]
        what = [self.subject_id, parts, self.metadata, self.spectrum.value, self.allow_duplicate]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """One image that becomes a sample; `crops`: its face on every template of `faces.align`."""

    sample_id: str
    digest: str
    size: tuple[int, int]
    description: Description
    crops: tuple[AlignedCrop, ...]


@dataclass(frozen=True, slots=True)
class EnrolledSample:
    sample_id: str
    template_id: int
    face: Face
    quality: Quality


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What was enrolled and what was refused, each refusal with the index of its image."""

    subject_id: str
    space_id: str
    samples: tuple[EnrolledSample, ...]
    rejected: tuple[ServiceError, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased, and the audit entry that says so."""

    erased: Erased
    audit_id: int


class Enroller:
    """Enrols samples and erases them. `encode` makes the JSON answer that idempotency keeps."""

    def __init__(
        self,
        db: Database,
        intake: Intake,
        registry: SpaceRegistry,
        vault: CropVault,
        settings: Settings,
        encode: Callable[[Enrolled], dict[str, Any]],
    ) -> None:
        self._db, self._intake, self._registry, self._vault = db, intake, registry, vault
        self._settings, self._encode = settings, encode

    async def enrol(self, space: EmbeddingSpace, request: Enrolment) -> dict[str, Any]:
        """Commit, make searchable in this process, then answer.

        Raises the ServiceError of the refusal; then nothing was stored.
        """
        if (before := await self._stored_answer(request)) is not None:
            return before
        outcomes = await asyncio.gather(
            *(self._examine(space, request, i, data) for i, data in enumerate(request.images))
        )
        accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
        rejected = tuple(outcome for outcome in outcomes if isinstance(outcome, ServiceError))
        if not accepted:
            raise _refusal(rejected)
        if not request.allow_duplicate:
            await self._refuse_duplicate(space, request.subject_id, accepted)
        try:
            answer = await self._commit(space, request, accepted, rejected)
        except IdempotencyTaken:
            # The same request won the race in another task or process: its answer is the answer.
            if (before := await self._stored_answer(request)) is None:
                raise
            return before
        await self._show(space)
        return answer

    async def erase_subject(self, space: EmbeddingSpace, subject_id: str, actor: str) -> Receipt:
        """Erase a subject everywhere. Raises SubjectNotFound."""
        async with self._db.write() as uow:
            erased = await uow.subjects.delete(subject_id)
            if erased is None:
                raise SubjectNotFound(f"no subject {subject_id} is enrolled")
            audit_id = await uow.audit.add(actor, "subject.erase", subject_id, _counts(erased))
            await uow.commit()
        await self._show(space)
        return Receipt(erased, audit_id)

    async def erase_sample(
        self, space: EmbeddingSpace, subject_id: str, sample_id: str, actor: str
    ) -> Receipt:
        """Erase one sample of a subject. Raises SubjectNotFound, SampleNotFound."""
        async with self._db.write() as uow:
            if await uow.subjects.get(subject_id) is None:
                raise SubjectNotFound(f"no subject {subject_id} is enrolled")
            erased = await uow.samples.delete(subject_id, sample_id)
            if erased is None:
                raise SampleNotFound(f"subject {subject_id} has no sample {sample_id}")
            detail = {"sample_id": sample_id} | _counts(erased)
            audit_id = await uow.audit.add(actor, "sample.erase", subject_id, detail)
            await uow.commit()
        await self._show(space)
        return Receipt(erased, audit_id)

    async def _stored_answer(self, request: Enrolment) -> dict[str, Any] | None:
        if request.idempotency_key is None:
            return None
        async with self._db.read() as uow:
            stored = await uow.idempotency.get(request.actor, request.idempotency_key)
        if stored is None:
            return None
        if stored.request_digest != request.digest():
            raise IdempotencyConflict("this Idempotency-Key belongs to a different enrolment")
        return stored.body

    async def _examine(
        self, space: EmbeddingSpace, request: Enrolment, index: int, data: bytes
    ) -> Accepted | ServiceError:
        """One image: accepted, or why not. Overload is not the image's fault and is raised."""
        try:
            image = await self._intake.decode(data, request.spectrum)
            face = _subject_face(image, await self._intake.detect(space, image))
            described = await self._intake.describe(space, image, face, Role.REFERENCE)
            self._refuse_poor(described.quality)
        except RetryLater:
            raise
        except ServiceError as error:
            error.index = index
            return error
        digest, crops = hashlib.sha256(data).hexdigest(), await asyncio.to_thread(every_crop, image, face)
        return Accepted(new_sample_id(), digest, (image.width, image.height), described, crops)

    def _refuse_poor(self, quality: Quality) -> None:
        limits = self._settings
        if quality.inter_eye_px < limits.min_inter_eye_px:
            raise LowQuality(
                f"the eyes are {quality.inter_eye_px:.0f} px apart, at least"
                f" {limits.min_inter_eye_px:.0f} are needed",
                reasons=["face_too_small"],
            )
        if quality.score < limits.min_enrol_quality:
            raise LowQuality(
                f"the quality is {quality.score}, at least {limits.min_enrol_quality} is needed",
                reasons=list(quality.reasons),
            )

    async def _refuse_duplicate(
        self, space: EmbeddingSpace, subject_id: str, accepted: Sequence[Accepted]
    ) -> None:
        calibration = space.calibration
        queries = np.stack([one.description.embedding.vector for one in accepted])
        found = await asyncio.to_thread(space.gallery.search, queries, DUPLICATE_HITS)
        async with self._db.read() as uow:
            owners = await uow.templates.owners(list({hit.template_id for hits in found for hit in hits}))
        for one, hits in zip(accepted, found, strict=True):
            limit = calibration.at(one.description.condition, calibration.duplicate_fmr).threshold
            for hit in hits:
                owner = owners.get(hit.template_id)
                if owner and owner.subject_id != subject_id and hit.score >= limit:
                    raise DuplicateFace(
                        f"the face matches subject {owner.subject_id}; enrol it there, or send"
                        " allow_duplicate=true",
                        subject_id=owner.subject_id,
                    )

    async def _commit(
        self,
        space: EmbeddingSpace,
        request: Enrolment,
        accepted: Sequence[Accepted],
        rejected: tuple[ServiceError, ...],
    ) -> dict[str, Any]:
        """One transaction for samples, crops and a template in every writable space.

        Which spaces those are is read inside it: where one is unknown here, nothing is stored, the
        space is loaded, and the transaction begins again.
        """
        vectors: Vectors = {space.space_id: [one.description.embedding.vector for one in accepted]}
        await self._embed_for([s.space_id for s in self._registry.loaded], accepted, vectors)
        sealed: list[list[SealedCrop]] = [[] for _ in accepted]
        if self._settings.keep_crops:
            sealed = await asyncio.to_thread(
                lambda: [self._vault.seal(one.sample_id, one.crops) for one in accepted]
            )
        pairs = tuple(zip(accepted, sealed, strict=True))
        for _ in range(COMMIT_ATTEMPTS):
            done = await self._try_commit(space, request, pairs, vectors, rejected)
            if isinstance(done, dict):
                return done
            await self._embed_for(done, accepted, vectors)
        raise NotReady("the embedding spaces change just now; nothing was stored")

    async def _embed_for(
        self, space_ids: Sequence[str], accepted: Sequence[Accepted], vectors: Vectors
    ) -> None:
        """Add the templates for these spaces; None for one whose networks fail: it is filled later.

        Raises Overloaded, Draining, StoreError.
        """
        for space_id in space_ids:
            if space_id in vectors:
                continue
            try:
                with refusals():
                    other = await self._registry.load(space_id)
                    vectors[space_id] = [await _embed(other, one) for one in accepted]
            except (RetryLater, StoreError):
                raise
            except Exception as error:  # noqa: BLE001 - a new model must not keep anybody from enrolling
                log.error("a space cannot be written", space_id=space_id, kind=type(error).__name__)
                vectors[space_id] = None

    async def _try_commit(
        self,
        space: EmbeddingSpace,
        request: Enrolment,
        accepted: Sequence[tuple[Accepted, Sequence[SealedCrop]]],
        vectors: Vectors,
        rejected: tuple[ServiceError, ...],
    ) -> dict[str, Any] | list[str]:
        """The answer, or the writable spaces that `vectors` lacks; then nothing was stored."""
        async with self._db.write() as uow:
            await uow.subjects.ensure(request.subject_id, request.metadata)
            await uow.spaces.hold()
            writable = {record.space_id: record.state for record in await uow.spaces.writable()}
            if unknown := [space_id for space_id in writable if space_id not in vectors]:
                return unknown
            active = next((space_id for space_id, state in writable.items() if state == "active"), None)
            if active is None or vectors[active] is None:
                raise NotReady("the active space cannot be written here; nothing was stored")
            # The space of this request may have been retired since it began.
            answered = space.space_id if space.space_id in writable else active
            samples = []
            for i, (one, sealed) in enumerate(accepted):
                await uow.samples.add(_new_sample(request, one), one.sample_id)
                await uow.crops.add(one.sample_id, sealed)
                template_ids = {
                    space_id: await uow.templates.add(space_id, one.sample_id, made[i])
                    for space_id in writable
                    if (made := vectors[space_id]) is not None
                }
                described = one.description
                samples.append(
                    EnrolledSample(one.sample_id, template_ids[answered], described.face, described.quality)
                )
            answer = self._encode(Enrolled(request.subject_id, answered, tuple(samples), rejected))
            detail = {"samples": len(samples), "rejected": len(rejected)}
            await uow.audit.add(request.actor, "subject.enrol", request.subject_id, detail)
            if request.idempotency_key is not None:
                await uow.idempotency.put(
                    request.actor,
                    request.idempotency_key,
                    request_digest=request.digest(),
                    subject_id=request.subject_id,
                    status=201,
                    body=answer,
                )
            await uow.commit()
        return answer

    async def _show(self, space: EmbeddingSpace) -> None:
        """Bring this process's gallery up to the commit just made; both, where a swap came between."""
        try:
            for one in {space, self._registry.active or space}:
                await one.follow(self._db)
        except StoreError as error:
            # The commit stands and the background feed will show it; the client must not be told
            # that it can be searched already.
            raise NotReady("stored, but the gallery has not caught up yet") from error


def _subject_face(image: Image, faces: Sequence[Face]) -> Face:
    """The largest face, where it is clear that it is meant. Raises NoFace, MultipleFaces.

    A second face of at least half its area makes that unclear, unless the largest alone stands in
    the middle: portraits are framed, and bystanders behind them are often as large.
    """
    if not faces:
        raise NoFace("no face was found in the image")
    largest = faces[0]
    rivals = [face for face in faces[1:] if face.box.area >= SECOND_FACE_SHARE * largest.box.area]
    if not rivals:
        return largest
    if _central(image, largest) and not any(_central(image, face) for face in rivals):
        return largest
    raise MultipleFaces("a second face is at least half as large as the largest")


def _central(image: Image, face: Face) -> bool:
    """Whether a face's middle lies within `MIDDLE` of the picture's, as a share of each side."""
    box = face.box
    across = abs(box.x + box.width / 2 - image.width / 2) / image.width
    down = abs(box.y + box.height / 2 - image.height / 2) / image.height
    return max(across, down) <= MIDDLE


async def _embed(space: EmbeddingSpace, one: Accepted) -> NDArray[np.float32]:
    wanted = space.manifest.encoder.alignment
    crop = next(crop for crop in one.crops if crop.alignment_id == wanted)
    return (await space.engine.encoder.embed(crop, Role.REFERENCE)).vector


def _new_sample(request: Enrolment, one: Accepted) -> NewSample:
    described = one.description
    return NewSample(
        subject_id=request.subject_id,
        digest=one.digest,
        spectrum=described.crop.spectrum,
        masked=described.mask.masked,
        mask_probability=described.mask.probability,
        quality_score=described.quality.score,
        inter_eye_px=described.quality.inter_eye_px,
        source_width=one.size[0],
        source_height=one.size[1],
    )


def _refusal(rejected: Sequence[ServiceError]) -> ServiceError:
    """What to answer where no image was enrolled: the shared reason, or 422 with all of them."""
    first = rejected[0]
    reasons = [{"index": r.index, "code": r.code, "detail": r.detail} for r in rejected]
    if len({error.code for error in rejected}) > 1:
        first = next((error for error in rejected if error.status == 422), first)
    first.extra = first.extra | {"rejected": reasons}
    return first


def _counts(erased: Erased) -> dict[str, Any]:
    return {"samples": erased.samples, "templates": erased.templates, "crops": erased.crops}
