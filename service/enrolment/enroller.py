"""Use cases: enrol photos of a subject, erase a subject or a sample."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from faces.frames import ImageSource
from faces.frames import digest as image_digest
from faces.types import Role
from service.crops import align_all
from service.enrolment.duplicates import DuplicateCheck
from service.enrolment.mismatch import Agreement
from service.enrolment.terms import need_consent
from service.enrolment.transaction import EnrolmentTransaction
from service.enrolment.types import Accepted, Duplicates, Enrolled, Enrolment
from service.errors import (
    IdempotencyConflict,
    LowQuality,
    NotSearchableYet,
    RetryLater,
    SampleNotFound,
    ServiceError,
    SubjectNotFound,
    UnsureOrientation,
)
from service.inference.quality import Quality
from service.matching.choice import subject_face
from service.matching.pipeline import FacePipeline
from service.settings import Settings
from service.spaces.registry import SpaceRegistry
from service.spaces.space import EmbeddingSpace
from service.store.audit import Pending
from service.store.database import Database
from service.store.errors import IdempotencyTaken, StoreError
from service.store.records import Erased
from service.store.subjects import new_sample_id
from service.store.unit import UnitOfWork

# Photos of one enrolment in work: all at once, large ones would wait for each other until none is taken.
IMAGES_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased, and the id of its audit entry. `removed`: the ids of the templates, by space, where
    a whole subject was erased by itself."""

    erased: Erased
    audit_id: int
    removed: Mapping[str, Sequence[int]] = field(default_factory=dict, compare=False, repr=False)


class Enroller:
    """Enrols samples and erases them. `encode`: makes the JSON answer that idempotency keeps."""

    def __init__(
        self,
        db: Database,
        pipeline: FacePipeline,
        registry: SpaceRegistry,
        settings: Settings,
        encode: Callable[[Enrolled], dict[str, Any]],
    ) -> None:
        self._db, self._pipeline, self._registry, self._settings = db, pipeline, registry, settings
        self._transaction = EnrolmentTransaction(
            db,
            registry,
            encode,
            keep_crops=settings.keep_crops,
            agreement=Agreement(fmr=settings.mismatch_fmr, fnmr=settings.mismatch_fnmr),
            require_consent=settings.require_consent,
        )

    async def enrol(self, space: EmbeddingSpace, request: Enrolment) -> dict[str, Any]:
        """Commits, makes the samples searchable in this process, then returns the answer.

        Raises the ServiceError of a refusal, after which nothing is stored.
        """
        if (stored := await self._stored_answer(request)) is not None:
            return stored
        if self._settings.require_consent and request.consent is None:
            async with self._db.read() as uow:
                await need_consent(uow, request.subject_id)
        places = asyncio.Semaphore(IMAGES_AT_ONCE)

        async def accept(index: int, data: ImageSource) -> Accepted | ServiceError:
            async with places:
                return await self.accept(space, request, index, data)

        outcomes = await asyncio.gather(*(accept(i, data) for i, data in enumerate(request.images)))
        accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
        rejected = tuple(outcome for outcome in outcomes if isinstance(outcome, ServiceError))
        if not accepted:
            raise _refusal(rejected)
        return await self._enrol(space, request, accepted, rejected)

    async def enrol_described(
        self, space: EmbeddingSpace, request: Enrolment, accepted: Sequence[Accepted]
    ) -> dict[str, Any]:
        """Enrols faces that were described before, such as kept probes, as `enrol` does with photos.

        Raises LowQuality if none of them is good enough.
        """
        good, rejected = [], []
        for one in accepted:
            try:
                self._refuse_poor(one.description.quality)
            except LowQuality as error:
                error.index = one.index
                rejected.append(error)
            else:
                good.append(one)
        if not good:
            raise _refusal(rejected)
        return await self._enrol(space, request, good, tuple(rejected))

    async def _enrol(
        self,
        space: EmbeddingSpace,
        request: Enrolment,
        accepted: Sequence[Accepted],
        rejected: tuple[ServiceError, ...],
    ) -> dict[str, Any]:
        """Looks for duplicates, commits, and makes the samples searchable in this process."""
        check = None
        if request.duplicates is not Duplicates.IGNORE:
            check = DuplicateCheck(
                self._db,
                space,
                request.subject_id,
                {one.index: one for one in accepted},
                false_positive_rate=self._settings.duplicate_fpir,
                refuse=request.duplicates is Duplicates.REFUSE,
            )
            await check.search()
        try:
            answer = await self._transaction.commit(space, request, accepted, rejected, check)
        except IdempotencyTaken:
            # The same request won the race in another task or process: its answer is the answer.
            if (stored := await self._stored_answer(request)) is None:
                raise
            return stored
        await self.follow_log(space)
        return await self._with_owners(answer)

    async def erase_subject(self, space: EmbeddingSpace, subject_id: str, actor: str) -> Receipt:
        """Erases a subject with its key, samples, templates and crops. Raises SubjectNotFound."""
        receipt = await erase_subject(self._db, subject_id, actor)
        await self.follow_log(space)
        return receipt

    async def erase_sample(
        self, space: EmbeddingSpace, subject_id: str, sample_id: str, actor: str
    ) -> Receipt:
        """Erases one sample of a subject. Raises SubjectNotFound, SampleNotFound."""
        async with self._db.write(erasing=True) as uow:
            if await uow.subjects.get(subject_id) is None:
                raise SubjectNotFound(f"no subject {subject_id} is enrolled")
            erased, entry = await _erase_sample(uow, subject_id, sample_id, actor)
            await uow.commit()
        await self.follow_log(space)
        return Receipt(erased, entry.audit_id)

    async def erase_samples(self, space: EmbeddingSpace, subject_id: str, actor: str) -> int:
        """Erases every sample of a subject, which stays without any. Returns how many it had.

        Raises SubjectNotFound, OnHold.
        """
        async with self._db.write(erasing=True) as uow:
            await uow.subjects.lock([subject_id])
            if await uow.subjects.get(subject_id) is None:
                raise SubjectNotFound(f"no subject {subject_id} is enrolled")
            found = await uow.samples.of_subject(subject_id)
            for sample in found:
                await _erase_sample(uow, subject_id, sample.sample_id, actor)
            await uow.commit()
        await self.follow_log(space)
        return len(found)

    async def _stored_answer(self, request: Enrolment) -> dict[str, Any] | None:
        """The answer that this idempotency key already got. Raises IdempotencyConflict."""
        if request.idempotency_key is None:
            return None
        async with self._db.read() as uow:
            stored = await uow.idempotency.get(request.actor, request.idempotency_key)
        if stored is None:
            return None
        if stored.request_digest != request.digest():
            raise IdempotencyConflict("this Idempotency-Key belongs to a different enrolment")
        return await self._with_owners(stored.body)

    async def _with_owners(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer with the subjects of the duplicates it lists; without those that were erased since.

        The stored answer names templates alone: it must not keep the id of another subject.
        """
        listed = answer.get("duplicates", [])
        if not listed:
            return answer | {"duplicates": []}
        async with self._db.read() as uow:
            owners = await uow.templates.owners([one["template_id"] for one in listed])
        named = [
            {"index": one["index"], "subject_id": owner.subject_id, "score": one["score"]}
            for one in listed
            if (owner := owners.get(one["template_id"])) is not None
        ]
        return answer | {"duplicates": named}

    async def accept(
        self, space: EmbeddingSpace, request: Enrolment, index: int, data: ImageSource
    ) -> Accepted | ServiceError:
        """Describes one image and stores nothing, or returns the refusal.

        Raises RetryLater: overload is no fault of the image.
        """
        try:
            found = await self._pipeline.describe(
                space,
                data,
                spectrum=request.spectrum,
                choose=subject_face,
                role=Role.REFERENCE,
                every_turn=True,
                min_score=request.min_score,
                turn=request.turn,
            )
            if not found.sure and request.turn is not None:
                raise UnsureOrientation(
                    f"the face stands better in another quarter turn than `turn={request.turn}`: look at the"
                    " photo, or leave `turn` out"
                )
            if not found.sure:
                raise UnsureOrientation("the face looks as upright in another quarter turn of the image")
            (described,) = found.faces
            self._refuse_poor(described.quality)
        except RetryLater:
            raise
        except ServiceError as error:
            error.index = index
            return error
        image, digest = found.image, image_digest(data)
        crops = await asyncio.to_thread(align_all, image, described.face)
        size = (image.width, image.height)
        return Accepted(new_sample_id(), digest, size, described, crops, index)

    def _refuse_poor(self, quality: Quality) -> None:
        """Raises LowQuality."""
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

    async def follow_log(self, space: EmbeddingSpace) -> None:
        """Applies a commit to this process's gallery; to both, if another space became active since.

        Raises NotSearchableYet.
        """
        try:
            for one in {space, self._registry.active or space}:
                await one.follow(self._db)
        except StoreError as error:
            # The commit stands and the background task will apply it, but the samples cannot be
            # searched yet.
            raise NotSearchableYet("stored, but the gallery has not caught up yet") from error


async def erase_subject(db: Database, subject_id: str, actor: str) -> Receipt:
    """Erases a subject in the database; galleries follow its log. Raises SubjectNotFound, StoreError."""
    async with db.write(erasing=True) as uow:
        await uow.subjects.lock([subject_id])
        # The erasure takes the name with it; its own entry is the last that has it.
        name = (await uow.audit.names_of([subject_id])).get(subject_id)
        erased = await uow.subjects.delete(subject_id)
        if erased is None:
            raise SubjectNotFound(f"no subject {subject_id} is enrolled")
        entry = await uow.audit.add(actor, "subject.erase", None, counts(erased), name=name)
        await uow.commit()
    return Receipt(erased, entry.audit_id, uow.log.removals)


async def _erase_sample(
    uow: UnitOfWork, subject_id: str, sample_id: str, actor: str
) -> tuple[Erased, Pending]:
    """Erases one sample within a transaction. Raises SampleNotFound, OnHold."""
    erased = await uow.samples.delete(subject_id, sample_id)
    if erased is None:
        raise SampleNotFound(f"subject {subject_id} has no sample {sample_id}")
    # A repeated request would be told where the face stood in an erased photo.
    await uow.idempotency.forget_sample(subject_id, sample_id)
    detail = {"sample_id": sample_id} | counts(erased)
    return erased, await uow.audit.add(actor, "sample.erase", subject_id, detail)


def _refusal(rejected: Sequence[ServiceError]) -> ServiceError:
    """The error of an enrolment without any accepted image: the shared reason, or 422 with all."""
    first = rejected[0]
    reasons = [{"index": r.index, "code": r.code, "detail": r.detail} for r in rejected]
    if len({error.code for error in rejected}) > 1:
        first = next((error for error in rejected if error.status == 422), first)
    first.extra = first.extra | {"rejected": reasons}
    return first


def counts(erased: Erased) -> dict[str, Any]:
    """The numbers of an erasure, for the audit log."""
    return {"samples": erased.samples, "templates": erased.templates, "crops": erased.crops}
