"""Routes of /identify, /verify, /embed and /detect."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request

from faces.types import CONDITIONS, Role
from service.access.keys import Permission, Principal
from service.api.deps import ADMITTED, Operator, Prober, SpaceDep, StateDep
from service.api.guard import ImageRoute
from service.api.image_docs import ANY_IMAGE, PROBE_BODY, VERIFY_BODY
from service.api.image_options import (
    AskedSpectrum,
    AskedTurn,
    MinScore,
    WhichFaces,
    identify_options,
    spectrum_of,
    turn_of,
    verify_options,
)
from service.api.noting import note_identifications, note_verification
from service.api.problems import problem_docs
from service.api.schemas.recognition import (
    DetectedOut,
    DetectOut,
    EmbeddedOut,
    EmbedOut,
    IdentifiedOut,
    IdentifyOut,
    VerifyOut,
    faces_found,
)
from service.api.uploads import form_of, read_image
from service.errors import (
    InvalidParameter,
    NoFace,
    SubjectNotFound,
    UnsupportedFmrPoint,
)
from service.matching.disclosure import DOOR, EVERYTHING, Disclosure
from service.matching.pipeline import StageTimes
from service.matching.rules import Options
from service.matching.trail import extraction

router = APIRouter(tags=["matching"], dependencies=[ADMITTED], route_class=ImageRoute)


def disclosure_of(principal: Principal) -> Disclosure:
    """A probe key opens doors; an operator, or a key with `investigate`, sees everything."""
    return EVERYTHING if principal.has(Permission.INVESTIGATE) else DOOR


@router.post(
    "/identify",
    openapi_extra=PROBE_BODY,
    responses=problem_docs(*ANY_IMAGE, NoFace, UnsupportedFmrPoint),
)
async def identify(
    request: Request,
    caller: Prober,
    state: StateDep,
    space: SpaceDep,
    options: Annotated[Options, Depends(identify_options)],
) -> IdentifyOut:
    """Who is this? One row per subject; an unknown face is an answer, not an error."""
    times, disclosure = StageTimes(), disclosure_of(caller)
    disclosure.check(space, options, CONDITIONS)
    options = disclosure.limited(options)
    data = await read_image(request, state.settings)
    found = await state.comparer.identify(space, data, options, times)
    for face in found:
        for condition in face.description.possible_conditions:
            disclosure.check(space, options, [condition])
    await note_identifications(state, space, caller.key_id, found, camera=options.camera)
    timing_ms = times.as_ms()
    state.metrics.observe_stages(timing_ms)
    return IdentifyOut(
        **faces_found(found[0].description.among),
        space_id=space.space_id,
        results=[IdentifiedOut.of(disclosure.identified(face)) for face in found],
        timing_ms=timing_ms,
    )


@router.post(
    "/verify",
    openapi_extra=VERIFY_BODY,
    responses=problem_docs(*ANY_IMAGE, NoFace, UnsupportedFmrPoint, SubjectNotFound),
)
async def verify(
    request: Request,
    caller: Prober,
    state: StateDep,
    space: SpaceDep,
    options: Annotated[Options, Depends(verify_options)],
) -> VerifyOut:
    """Is this the subject, or the face of the reference image?"""
    times, disclosure = StageTimes(), disclosure_of(caller)
    disclosure.check(space, options, CONDITIONS)
    options = disclosure.limited(options)
    form = form_of(request)
    image, subject_id = form.image("image"), form.fields.get("subject_id")
    if (subject_id is None) == ("reference" not in form.files):
        raise InvalidParameter("give `subject_id` or a `reference` image, one of them")
    if subject_id is not None:
        verified = await state.comparer.verify_subject(space, image, subject_id, options, times)
    else:
        reference = form.image("reference")
        verified = await state.comparer.verify_image(space, image, reference, options, times)
    for condition in verified.probe.possible_conditions:
        disclosure.check(space, options, [condition])
    await note_verification(state, space, caller.key_id, subject_id, verified, camera=options.camera)
    timing_ms = times.as_ms()
    state.metrics.observe_stages(timing_ms)
    return VerifyOut.of(verified, space.space_id, subject_id, timing_ms, score_digits=disclosure.score_digits)


@router.post("/embed", openapi_extra=PROBE_BODY, responses=problem_docs(*ANY_IMAGE, NoFace))
async def embed(
    request: Request,
    caller: Operator,
    state: StateDep,
    space: SpaceDep,
    spectrum: AskedSpectrum = "auto",
    faces: WhichFaces = "largest",
    role: Annotated[Literal["probe", "reference"], Query()] = "probe",
    min_detection_score: MinScore = None,
    turn: AskedTurn = None,
) -> EmbedOut:
    """The template of each face: a unit vector of the active space.

    A bundle may have one encoder for clear visible probes and one for others; if the mask state of a visible
    probe is uncertain, the template is that of the likelier state.
    """
    data = await read_image(request, state.settings)
    # A reference is a photo, and no frame of the camera that the setting is about.
    options = Options(
        spectrum=spectrum_of(spectrum),
        every_face=faces == "all",
        min_score=min_detection_score,
        turn=turn_of(turn, state.settings.camera_turn if role == "probe" else "auto"),
    )
    found = await state.comparer.describe(space, data, options, Role(role), StageTimes())
    await state.audit.record(extraction(caller.key_id, space.space_id, len(found)))
    return EmbedOut(
        **faces_found(found[0].among),
        space_id=space.space_id,
        results=[EmbeddedOut.embedded(space, one, Role(role)) for one in found],
    )


@router.post("/detect", openapi_extra=PROBE_BODY, responses=problem_docs(*ANY_IMAGE))
async def detect(
    request: Request,
    _caller: Prober,
    state: StateDep,
    space: SpaceDep,
    spectrum: AskedSpectrum = "auto",
    min_detection_score: MinScore = None,
    turn: AskedTurn = None,
) -> DetectOut:
    """Every face, largest first, with the quality that an enrolment would measure; none is an empty list."""
    data = await read_image(request, state.settings)
    seen = await state.pipeline.detect(
        space,
        data,
        spectrum_of(spectrum),
        min_score=min_detection_score,
        turn=turn_of(turn, state.settings.camera_turn),
    )
    return DetectOut(
        **faces_found(seen.among),
        results=[DetectedOut.seen(each.face, each.quality) for each in seen.faces],
        spectrum=seen.image.spectrum,
        image=(seen.image.width, seen.image.height),
    )
