"""Routes of /enroll and /subjects/{id}: enrol, get, change and erase subjects."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, TypedDict, get_args

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from faces.strict import strip_prefix
from faces.types import Spectrum, Turn
from service.api.deps import ADMITTED, Operator, SpaceDep, StateDep
from service.api.guard import GuardedRoute, ImageRoute
from service.api.image_docs import ANY_IMAGE, BASE64, BINARY, Schema, image_body
from service.api.image_options import turn_of
from service.api.problems import problem_docs
from service.api.schemas.subjects import (
    EnrolOut,
    PatchIn,
    ReceiptOut,
    SubjectDetailOut,
)
from service.api.schemas.terms import MAX_TEXT, TermsIn
from service.api.uploads import UploadForm, form_of, parse_metadata
from service.enrolment.types import Duplicates, Enrolment
from service.errors import (
    ConsentMissing,
    Draining,
    DuplicateFace,
    Forbidden,
    IdempotencyConflict,
    InvalidParameter,
    MalformedRequest,
    MultipleFaces,
    NoFace,
    NotReady,
    OnHold,
    PhotosDisagree,
    RateLimited,
    SampleNotFound,
    SubjectExists,
    SubjectMismatch,
    SubjectNotFound,
    Unauthorized,
    UnsureOrientation,
)
from service.inference.detector import LOWEST_SCORE
from service.settings import Settings, TurnChoice
from service.state import State
from service.store.term_records import Consent
from service.subjects.editor import SubjectChange
from service.subjects.names import MAX_LETTERS
from service.subjects.validation import SUBJECT_ID, validate_metadata, validate_name, validate_subject_id

MAX_IDEMPOTENCY_KEY = 200
SIMPLE = (
    *(MalformedRequest, Unauthorized, Forbidden, InvalidParameter),
    *(RateLimited, NotReady, Draining),
)
DISPLAY_NAME = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_LETTERS,
    "description": "what people call the subject, in any script; kept in NFC",
}
DUPLICATES = {
    "type": "string",
    "enum": [one.value for one in Duplicates],
    "description": "a face that another subject has: 409, named in the answer, or not looked for;"
    " what the service is set to where it is absent",
}
TERMS: dict[str, Schema] = {
    "consent_date": {
        "type": "string",
        "format": "date",
        "description": "day on which the subject consented; replaces what is kept",
    },
    "consent_reference": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_TEXT,
        "description": "where the consent is written down; needs `consent_date`",
    },
    "expires_at": {
        "type": "string",
        "format": "date-time",
        "description": "when retention erases the subject; replaces what is kept",
    },
}
TURN: Schema = {
    "type": "string",
    "enum": list(get_args(TurnChoice)),
    "description": "degrees by which the photos must be turned clockwise, where that is known",
}


def _enrol_fields(*, image: Schema, metadata: Schema, flag: Schema) -> dict[str, Schema]:
    """The properties of an enrolment, which a form and JSON spell alike but for these three."""
    return {
        "subject_id": {"type": "string", "pattern": f"^{SUBJECT_ID.pattern}$"},
        "images": {"type": "array", "minItems": 1, "maxItems": 16, "items": image},
        "display_name": DISPLAY_NAME,
        "metadata": metadata,
        "spectrum": {"type": "string", "enum": ["vis", "nir"]},
        "turn": TURN,
        "duplicates": DUPLICATES,
        "allow_duplicate": flag | {"description": "older form of `duplicates`: ignore or refuse"},
        "min_detection_score": {"type": "number", "minimum": LOWEST_SCORE, "exclusiveMaximum": 1},
        "allow_mismatch": flag,
        **TERMS,
    }


ENROL_BODY = image_body(
    ["subject_id", "images"],
    form=_enrol_fields(
        image=BINARY,
        metadata={"type": "string", "description": "JSON object, 8 KiB"},
        flag={"type": "string", "enum": ["true", "false"]},
    ),
    json=_enrol_fields(
        image=BASE64, metadata={"type": "object", "description": "8 KiB"}, flag={"type": "boolean"}
    ),
)

enroll_router = APIRouter(tags=["subjects"], route_class=ImageRoute)
router = APIRouter(tags=["subjects"], route_class=GuardedRoute)


def _flag(form: UploadForm, name: str) -> bool:
    text = form.fields.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise InvalidParameter(f"`{name}` must be true or false")
    return text in ("true", "1")


def _duplicates(form: UploadForm, settings: Settings) -> Duplicates:
    """What the request, or else the service, does with duplicates. Raises InvalidParameter."""
    old, asked = form.fields.get("allow_duplicate"), form.fields.get("duplicates")
    if old is not None and old.lower() not in ("true", "false", "1", "0"):
        raise InvalidParameter("`allow_duplicate` must be true or false; better send `duplicates`")
    allowed = old is not None and old.lower() in ("true", "1")
    if asked is None:
        if old is None:
            return Duplicates(settings.duplicates)
        return Duplicates.IGNORE if allowed else Duplicates.REFUSE
    try:
        wanted = Duplicates(asked)
    except ValueError as error:
        raise InvalidParameter("`duplicates` must be refuse, report or ignore") from error
    if old is not None and allowed != (wanted is Duplicates.IGNORE):
        raise InvalidParameter("`duplicates` and `allow_duplicate` say different things: send `duplicates`")
    return wanted


def _turn(form: UploadForm) -> Turn | None:
    asked = form.fields.get("turn")
    if asked not in (None, *TURN["enum"]):
        raise InvalidParameter("`turn` must be auto, 0, 90, 180 or 270")
    return turn_of(asked)


class _Terms(TypedDict):
    consent: Consent | None
    expires_at: datetime | None


def _terms(form: UploadForm) -> _Terms:
    """Consent and end that the request gives. Raises InvalidParameter."""
    given = {name: form.fields[name] for name in TERMS if name in form.fields}
    try:
        asked = TermsIn.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "consent_reference"
        raise InvalidParameter(f"`{name}`: {strip_prefix(first['msg'])}") from error
    return {"consent": asked.consent(), "expires_at": asked.expires_at}


def _spectrum(form: UploadForm) -> Spectrum:
    text = form.fields.get("spectrum", "vis")
    try:
        return Spectrum(text)
    except ValueError as error:
        raise InvalidParameter("`spectrum` must be vis or nir") from error


def _min_score(form: UploadForm) -> float | None:
    if (text := form.fields.get("min_detection_score")) is None:
        return None
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not LOWEST_SCORE <= score < 1:
        raise InvalidParameter(f"`min_detection_score` must be a number from {LOWEST_SCORE:g} to below 1")
    return score


@enroll_router.post(
    "/enroll",
    status_code=201,
    response_model=EnrolOut,
    openapi_extra=ENROL_BODY,
    dependencies=[ADMITTED],
    responses=problem_docs(
        *(*ANY_IMAGE, NoFace, MultipleFaces, UnsureOrientation, PhotosDisagree),
        *(DuplicateFace, SubjectMismatch, IdempotencyConflict, ConsentMissing),
    ),
)
async def enroll(
    request: Request,
    operator: Operator,
    state: StateDep,
    space: SpaceDep,
    idempotency_key: Annotated[
        str | None, Header(json_schema_extra={"minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY})
    ] = None,
) -> JSONResponse:
    """Add samples to a subject. Committed, and searchable in this process, before the answer."""
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidParameter(f"Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} characters")
    form = form_of(request)
    if "subject_id" not in form.fields:
        raise InvalidParameter("`subject_id` is missing")
    images = form.files.get("images", ())
    if not 1 <= len(images) <= state.settings.max_images:
        raise InvalidParameter(f"send 1 to {state.settings.max_images} files as `images`")
    name = form.fields.get("display_name")
    asked = Enrolment(
        subject_id=validate_subject_id(form.fields["subject_id"]),
        images=images,
        metadata=parse_metadata(form.fields.get("metadata")),
        spectrum=_spectrum(form),
        duplicates=_duplicates(form, state.settings),
        allow_mismatch=_flag(form, "allow_mismatch"),
        actor=operator.key_id,
        idempotency_key=idempotency_key,
        display_name=None if name is None else validate_name(name),
        min_score=_min_score(form),
        turn=_turn(form),
        **_terms(form),
    )
    with state.enrolling.admitted():
        answer = await state.enroller.enrol(space, asked)
    state.metrics.enrolled.inc(sum(not sample.get("existing") for sample in answer["samples"]))
    return JSONResponse(answer, status_code=201)


async def subject_detail(state: State, subject_id: str) -> SubjectDetailOut:
    """What is known of a subject. Raises SubjectNotFound."""
    async with state.db.read() as uow:
        record = await uow.subjects.get(subject_id)
        if record is None:
            raise SubjectNotFound(f"no subject {subject_id} is enrolled")
        samples = await uow.samples.of_subject(subject_id)
        return SubjectDetailOut.of(record, samples, await uow.terms.get(subject_id))


@router.get("/subjects/{subject_id}", responses=problem_docs(*SIMPLE, SubjectNotFound))
async def get_subject(subject_id: str, _operator: Operator, state: StateDep) -> SubjectDetailOut:
    """One subject with its samples and the terms under which it is kept."""
    return await subject_detail(state, validate_subject_id(subject_id))


@router.patch("/subjects/{subject_id}", responses=problem_docs(*SIMPLE, SubjectNotFound, SubjectExists))
async def change_subject(
    subject_id: str, change: PatchIn, operator: Operator, state: StateDep
) -> SubjectDetailOut:
    """Change id, display name, metadata, consent or end of a subject; what is absent stays.

    Under another id it keeps its samples and templates: every replica answers with it at once.
    """
    validate_subject_id(subject_id)
    new_id = None if change.subject_id is None else validate_subject_id(change.subject_id)
    await state.editor.change(
        subject_id,
        SubjectChange(
            new_id=new_id,
            display_name=None if change.display_name is None else validate_name(change.display_name),
            clear_name="display_name" in change.model_fields_set and change.display_name is None,
            metadata=None if change.metadata is None else validate_metadata(change.metadata),
            consent=None if change.consent is None else change.consent.stored(),
            clear_consent="consent" in change.model_fields_set and change.consent is None,
            expires_at=change.expires_at,
            clear_expiry="expires_at" in change.model_fields_set and change.expires_at is None,
        ),
        operator.key_id,
    )
    return await subject_detail(state, new_id or subject_id)


@router.delete("/subjects/{subject_id}", responses=problem_docs(*SIMPLE, SubjectNotFound, OnHold))
async def erase_subject(subject_id: str, operator: Operator, state: StateDep, space: SpaceDep) -> ReceiptOut:
    """Erase a subject: rows, templates and index entries, at once."""
    receipt = await state.enroller.erase_subject(space, validate_subject_id(subject_id), operator.key_id)
    return ReceiptOut.of(receipt)


@router.delete(
    "/subjects/{subject_id}/samples/{sample_id}",
    responses=problem_docs(*SIMPLE, SubjectNotFound, SampleNotFound, OnHold),
)
async def erase_sample(
    subject_id: str, sample_id: str, operator: Operator, state: StateDep, space: SpaceDep
) -> ReceiptOut:
    """Erase one sample with its templates and index entries."""
    receipt = await state.enroller.erase_sample(
        space, validate_subject_id(subject_id), sample_id, operator.key_id
    )
    return ReceiptOut.of(receipt)
