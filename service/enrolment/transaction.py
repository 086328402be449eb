"""The transaction of an enrolment: samples, crops and a template in every writable space."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from faces.types import Role
from service.crops import encode_crops
from service.enrolment.duplicates import DuplicateCheck
from service.enrolment.mismatch import Agreement, MismatchCheck
from service.enrolment.terms import agree_terms
from service.enrolment.types import Accepted, Duplicates, Enrolled, EnrolledSample, Enrolment, SubjectErased
from service.enrolment.warnings import uncalibrated
from service.errors import NotReady, RetryLater, ServiceError
from service.matching.pipeline import inference_errors
from service.spaces.registry import SpaceRegistry
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.errors import StoreError
from service.store.records import EncodedCrop, NewSample

COMMIT_ATTEMPTS = 5
# Of each space: a unit vector, float32 [d], for each accepted image, or None if its networks failed.
Vectors = dict[str, list[NDArray[np.float32]] | None]

log = structlog.get_logger("halflight.enrolment")


class EnrolmentTransaction:
    """Stores enrolments, each in one transaction.

    `keep_crops`: whether crops are kept. `encode`: makes the JSON answer that idempotency keeps.
    `agreement`: from when on two photos count as one person's. `require_consent`: whether a subject must
    have consented.
    """

    def __init__(
        self,
        db: Database,
        registry: SpaceRegistry,
        encode: Callable[[Enrolled], dict[str, Any]],
        *,
        keep_crops: bool,
        agreement: Agreement,
        require_consent: bool,
    ) -> None:
        self._db, self._registry, self._encode = db, registry, encode
        self._keep_crops, self._agreement = keep_crops, agreement
        self._require_consent = require_consent

    async def commit(
        self,
        space: EmbeddingSpace,
        request: Enrolment,
        accepted: Sequence[Accepted],
        rejected: tuple[ServiceError, ...],
        check: DuplicateCheck | None,
    ) -> dict[str, Any]:
        """Stores samples, crops and templates; returns the answer.

        The transaction reads which spaces are writable. If this process has not loaded one of them, it
        stores nothing, loads the space and begins again. Raises DuplicateFace, SubjectMismatch,
        PhotosDisagree, ConsentMissing, IdempotencyTaken, SubjectErased, NotReady, StoreError.
        """
        vectors: Vectors = {space.space_id: [one.description.embedding.vector for one in accepted]}
        await self._embed_for([s.space_id for s in self._registry.loaded], accepted, vectors)
        encoded: list[list[EncodedCrop]] = [[] for _ in accepted]
        if self._keep_crops:
            encoded = await asyncio.to_thread(lambda: [encode_crops(one.crops) for one in accepted])
        pairs = tuple(zip(accepted, encoded, strict=True))
        for _ in range(COMMIT_ATTEMPTS):
            done = await self._try_commit(space, request, pairs, vectors, rejected, check)
            if isinstance(done, dict):
                return done
            await self._embed_for(done, accepted, vectors)
        raise NotReady("the embedding spaces change just now; nothing was stored")

    async def _embed_for(
        self, space_ids: Sequence[str], accepted: Sequence[Accepted], vectors: Vectors
    ) -> None:
        """Adds the templates for these spaces to `vectors`.

        A space whose networks fail gets None, and its templates from a later backfill. Raises
        Overloaded, Draining, StoreError.
        """
        for space_id in space_ids:
            if space_id in vectors:
                continue
            try:
                with inference_errors():
                    other = await self._registry.load(space_id)
                    vectors[space_id] = [await _embed(other, one) for one in accepted]
            except (RetryLater, StoreError):
                raise
            except Exception as error:  # noqa: BLE001 - a new model must not stop enrolments
                log.error("a space cannot be written", space_id=space_id, kind=type(error).__name__)
                vectors[space_id] = None

    async def _try_commit(
        self,
        space: EmbeddingSpace,
        request: Enrolment,
        accepted: Sequence[tuple[Accepted, Sequence[EncodedCrop]]],
        vectors: Vectors,
        rejected: tuple[ServiceError, ...],
        check: DuplicateCheck | None,
    ) -> dict[str, Any] | list[str]:
        """Returns the answer, or, without storing anything, the writable spaces that `vectors` lacks."""
        async with self._db.write() as uow:
            if check is not None:
                await check.recheck(uow)
            secrets = request.secrets
            key = None if secrets is None else secrets.key
            is_new = await uow.subjects.ensure(
                request.subject_id, request.metadata, request.display_name, key=key
            )
            if is_new and secrets is not None:
                await uow.audit.set_secret(request.subject_id, secrets.audit_secret)
            earlier = request.earlier_key_id
            if earlier is not None and not await uow.subject_keys.is_held(earlier):
                raise SubjectErased
            await agree_terms(uow, request, require_consent=self._require_consent)
            if not request.allow_mismatch:
                photos = [one for one, _ in accepted]
                await MismatchCheck(space, request.subject_id, photos, self._agreement).check(uow)
            await uow.spaces.lock_shared()
            writable = {record.space_id: record.state for record in await uow.spaces.writable()}
            if unknown := [space_id for space_id in writable if space_id not in vectors]:
                return unknown
            active = next((space_id for space_id, state in writable.items() if state == "active"), None)
            # The space of this request may have been retired since it began.
            answered = space.space_id if space.space_id in writable else active
            if active is None or answered is None or vectors[active] is None:
                raise NotReady("the active space cannot be written here; nothing was stored")
            samples = []
            for i, (one, encoded) in enumerate(accepted):
                if (known := await uow.samples.with_digest(request.subject_id, one.digest)) is not None:
                    # Spaces whose backfill found no crop of this sample get its template now.
                    for space_id in writable:
                        if (made := vectors[space_id]) is not None:
                            await uow.templates.add_missing(space_id, {known: made[i]})
                    template_id = await uow.templates.of_sample(answered, known)
                    samples.append(_enrolled(one, known, template_id, existing=True))
                    continue
                await uow.samples.add(_new_sample(request, one), one.sample_id)
                await uow.crops.add(one.sample_id, encoded)
                template_ids = {
                    space_id: await uow.templates.add(space_id, one.sample_id, made[i])
                    for space_id in writable
                    if (made := vectors[space_id]) is not None
                }
                samples.append(_enrolled(one, one.sample_id, template_ids[answered]))
            stored = [(s.sample_id, one) for s, (one, _) in zip(samples, accepted, strict=True)]
            warnings = uncalibrated(space.calibration, stored)
            answer = self._encode(Enrolled(request.subject_id, answered, tuple(samples), rejected, warnings))
            answer["duplicates"] = [asdict(one) for one in (check.found if check is not None else ())]
            added = sum(not sample.existing for sample in samples)
            detail: dict[str, Any] = {"samples": added, "rejected": len(rejected)}
            if request.duplicates is Duplicates.IGNORE:
                detail["allow_duplicate"] = True
            if request.allow_mismatch:
                detail["allow_mismatch"] = True
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


async def _embed(space: EmbeddingSpace, one: Accepted) -> NDArray[np.float32]:
    """The template of an accepted image in another space: a unit vector, float32 [d]."""
    wanted = space.manifest.encoder.alignment
    crop = next(crop for crop in one.crops if crop.alignment_id == wanted)
    (template,) = await space.engine.encoder.embed(crop, Role.REFERENCE)
    return template.vector


def _enrolled(one: Accepted, sample_id: str, template_id: int, *, existing: bool = False) -> EnrolledSample:
    described = one.description
    return EnrolledSample(
        sample_id, template_id, described.face, described.quality, described.among, existing
    )


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
