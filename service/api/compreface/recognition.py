"""CompreFace's routes that compare: recognize, verify against a saved example, verify two images."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.access.keys import Principal
from service.api.compreface.options import CALCULATOR, Asked, asked_options, seen_face
from service.api.compreface.routes import CompreFaceImageRoute, with_and_without_slash
from service.api.compreface.routes import router as compreface_router
from service.api.compreface.schemas import (
    ComparedImagesOut,
    ComparedOut,
    RecognizedFaceOut,
    RecognizedOut,
    SeenFaceOut,
    SubjectOut,
    VerifiedFaceOut,
    VerifiedOut,
)
from service.api.deps import ADMITTED, Prober, SpaceDep, StateDep
from service.api.image_docs import BASE64, BINARY, image_body
from service.api.noting import note_identifications, note_verification
from service.api.recognition import disclosure_of
from service.api.uploads import form_of
from service.matching.comparison import Verified
from service.matching.compreface_scale import similarity
from service.matching.disclosure import Disclosure
from service.matching.pipeline import StageTimes
from service.matching.trail import extraction
from service.spaces.space import EmbeddingSpace
from service.state import State
from service.subjects.free_names import name_of

FILE_BODY = image_body(["file"], form={"file": BINARY}, json={"file": BASE64})
TWO_FILES = ("source_image", "target_image")
TWO_FILES_BODY = image_body(
    TWO_FILES, form=dict.fromkeys(TWO_FILES, BINARY), json=dict.fromkeys(TWO_FILES, BASE64)
)
AskedDep = Annotated[Asked, Depends(asked_options)]

router = compreface_router(CompreFaceImageRoute, dependencies=[ADMITTED])


async def _note_extraction(
    state: State, space: EmbeddingSpace, caller: Principal, asked: Asked, faces: int
) -> None:
    if CALCULATOR in asked.plugins:
        await state.audit.record(extraction(caller.key_id, space.space_id, faces))


@with_and_without_slash(
    router.post, "/recognition/recognize", openapi_extra=FILE_BODY, response_model_exclude_none=True
)
async def recognize(
    request: Request, caller: Prober, state: StateDep, space: SpaceDep, asked: AskedDep
) -> RecognizedOut:
    """Who is in this picture? Of each face the most similar subjects; what is no match is below 0.5."""
    asked.check(caller)
    times, disclosure = StageTimes(), disclosure_of(caller)
    options = disclosure.limited(asked.options(space, state.settings))
    calibration = space.calibration
    found = await state.comparer.identify(space, form_of(request).image("file"), options, times)
    await note_identifications(state, space, caller.key_id, found)
    await _note_extraction(state, space, caller, asked, len(found))
    state.metrics.observe_stages(times.as_ms())
    return RecognizedOut(
        result=[
            RecognizedFaceOut(
                **seen_face(one.description, asked, space, state.settings, times),
                subjects=[
                    SubjectOut(
                        similarity=similarity(each.score, each.rule, calibration, accepted=each.accepted),
                        subject=name_of(each.subject_id, each.display_name),
                    )
                    for each in one.candidates
                ],
            )
            for one in map(disclosure.identified, found)
        ],
        plugins_versions=asked.versions(space),
    )


def _similarity(verified: Verified, space: EmbeddingSpace, disclosure: Disclosure) -> float:
    digits = disclosure.score_digits
    score = verified.score if digits is None else round(verified.score, digits)
    accepted = verified.decision == "match"
    return similarity(score, verified.rule, space.calibration, accepted=accepted)


@with_and_without_slash(
    router.post,
    "/recognition/faces/{image_id}/verify",
    openapi_extra=FILE_BODY,
    response_model_exclude_none=True,
)
async def verify_example(
    image_id: str, request: Request, caller: Prober, state: StateDep, space: SpaceDep, asked: AskedDep
) -> VerifiedOut:
    """Is this the face of a saved example? Compares every face with it, the largest first."""
    asked.check(caller)
    times, disclosure = StageTimes(), disclosure_of(caller)
    options = disclosure.limited(asked.options(space, state.settings))
    image = form_of(request).image("file")
    owner, found = await state.comparer.verify_sample(space, image, image_id, options, times)
    for one in found:
        await note_verification(state, space, caller.key_id, owner.subject_id, one)
    await _note_extraction(state, space, caller, asked, len(found))
    state.metrics.observe_stages(times.as_ms())
    return VerifiedOut(
        result=[
            VerifiedFaceOut(
                **seen_face(one.probe, asked, space, state.settings, times),
                similarity=_similarity(one, space, disclosure),
            )
            for one in found
        ],
        plugins_versions=asked.versions(space),
    )


@with_and_without_slash(
    router.post, "/verification/verify", openapi_extra=TWO_FILES_BODY, response_model_exclude_none=True
)
async def verify_images(
    request: Request, caller: Prober, state: StateDep, space: SpaceDep, asked: AskedDep
) -> ComparedImagesOut:
    """Is the face of the source image, the probe, in the target image, the reference?"""
    asked.check(caller)
    times, disclosure = StageTimes(), disclosure_of(caller)
    options = disclosure.limited(asked.options(space, state.settings))
    source, target = map(form_of(request).image, TWO_FILES)
    found = await state.comparer.verify_images(space, source, target, options, times)
    for one in found:
        await note_verification(state, space, caller.key_id, None, one)
    await _note_extraction(state, space, caller, asked, 1 + len(found))
    state.metrics.observe_stages(times.as_ms())
    matches = [
        VerifiedFaceOut(
            **seen_face(one.reference, asked, space, state.settings, times),
            similarity=_similarity(one, space, disclosure),
        )
        for one in found
        if one.reference is not None
    ]
    source_face = SeenFaceOut(**seen_face(found[0].probe, asked, space, state.settings, times))
    return ComparedImagesOut(
        result=[
            ComparedOut(
                source_image_face=source_face, face_matches=matches, plugins_versions=asked.versions(space)
            )
        ]
    )
