"""Routes of /unknowns: unknown faces by person, while their crops are kept; enrol, ignore or forget them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from faces.types import Spectrum
from service.api.deps import ADMITTED, Operator, SpaceDep, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.subjects import EnrolOut
from service.api.schemas.unknowns import EnrolUnknownIn, ForgottenOut, IgnoredOut, IgnoreIn, UnknownsOut
from service.enrolment.types import Duplicates, Enrolment
from service.errors import (
    AuditUnavailable,
    ConsentMissing,
    Draining,
    DuplicateFace,
    Forbidden,
    InvalidParameter,
    LowQuality,
    MalformedRequest,
    NotReady,
    Overloaded,
    PhotosDisagree,
    ProbesNotKept,
    RateLimited,
    SubjectMismatch,
    Unauthorized,
    UnknownNotFound,
)
from service.live.decisions import EVENT_ID
from service.subjects.validation import validate_metadata, validate_name, validate_subject_id

COMMON = (
    *(Unauthorized, Forbidden, InvalidParameter, RateLimited, NotReady, Draining, AuditUnavailable),
    *(ProbesNotKept, Overloaded),
)
AskedUnknown = Annotated[str, Path(pattern=f"^{EVENT_ID.pattern}$")]

# Clustering takes a place among the requests in work, as matching does.
router = APIRouter(prefix="/unknowns", tags=["events"], route_class=GuardedRoute, dependencies=[ADMITTED])


@router.get("", responses=problem_docs(*COMMON))
async def list_unknowns(
    _operator: Operator,
    state: StateDep,
    space: SpaceDep,
    ignored: Annotated[bool, Query(description="list those that are ignored as well")] = False,
) -> UnknownsOut:
    """Faces that identification did not know, by person: a sighting belongs with an earlier one that it
    matches at the default FMR of the space."""
    found = await state.review.unknowns(space)
    return UnknownsOut.of(space.space_id, found, ignored=ignored)


@router.post(
    "/{unknown_id}/enrol",
    status_code=201,
    response_model=EnrolOut,
    responses=problem_docs(
        *COMMON,
        MalformedRequest,
        UnknownNotFound,
        ConsentMissing,
        LowQuality,
        DuplicateFace,
        SubjectMismatch,
        PhotosDisagree,
    ),
)
async def enrol_unknown(
    unknown_id: AskedUnknown, asked: EnrolUnknownIn, operator: Operator, state: StateDep, space: SpaceDep
) -> JSONResponse:
    """Enrols the best sightings, 16 at most, as a subject; then all of them go with the subject."""
    request = Enrolment(
        subject_id=validate_subject_id(asked.subject_id),
        images=(),
        metadata=None if asked.metadata is None else validate_metadata(asked.metadata),
        spectrum=Spectrum.VIS,
        duplicates=Duplicates(state.settings.duplicates),
        actor=operator.key_id,
        display_name=None if asked.display_name is None else validate_name(asked.display_name),
        consent=None if asked.consent is None else asked.consent.stored(),
        expires_at=asked.expires_at,
    )
    with state.enrolling.admitted():
        answer = await state.review.enrol(space, unknown_id, request)
    state.metrics.enrolled.inc(sum(not sample["existing"] for sample in answer["samples"]))
    return JSONResponse(answer, status_code=201)


@router.post("/{unknown_id}/ignore", responses=problem_docs(*COMMON, MalformedRequest, UnknownNotFound))
async def ignore_unknown(
    unknown_id: AskedUnknown, asked: IgnoreIn, operator: Operator, state: StateDep, space: SpaceDep
) -> IgnoredOut:
    """Hides a face and what joins it later, as long as one of its pictures is kept."""
    found = await state.review.ignore(space, unknown_id, ignored=asked.ignored, actor=operator.key_id)
    return IgnoredOut(unknown_id=found.cluster_id, count=len(found.sightings), ignored=asked.ignored)


@router.delete("/{unknown_id}", responses=problem_docs(*COMMON, UnknownNotFound))
async def forget_unknown(
    unknown_id: AskedUnknown, operator: Operator, state: StateDep, space: SpaceDep
) -> ForgottenOut:
    """Erases every picture that is kept of a face, at once. A later sighting is an unknown face again."""
    erased = await state.review.forget(space, unknown_id, actor=operator.key_id)
    return ForgottenOut(unknown_id=unknown_id, erased=erased)
