"""Routes of /enroll and /subjects: enrol, list, get, change and erase subjects."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from faces.types import Spectrum
from service.api.deps import ADMITTED, Operator, SpaceDep, StateDep
from service.api.guard import GuardedRoute, ImageRoute
from service.api.problems import problem_docs
from service.api.recognition import ABOUT_IMAGES, ANY_IMAGE, BASE64
from service.api.schemas.subjects import (
    EnrolOut,
    PatchIn,
    ReceiptOut,
    SampleOut,
    SubjectDetailOut,
    SubjectOut,
    SubjectsOut,
)
from service.api.uploads import UploadForm, form_of, parse_metadata, validate_metadata
from service.enrolment.types import Enrolment
from service.errors import (
    Draining,
    DuplicateFace,
    Forbidden,
    IdempotencyConflict,
    InvalidParameter,
    MalformedRequest,
    MultipleFaces,
    NoFace,
    NotReady,
    RateLimited,
    SampleNotFound,
    SubjectNotFound,
    Unauthorized,
    UnsureOrientation,
)

SUBJECT_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
MAX_IDEMPOTENCY_KEY = 200
SIMPLE = (
    *(MalformedRequest, Unauthorized, Forbidden, InvalidParameter),
    *(RateLimited, NotReady, Draining),
)
ENROL_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": ABOUT_IMAGES,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["subject_id", "images"],
                    "properties": {
                        "subject_id": {"type": "string", "pattern": f"^{SUBJECT_ID.pattern}$"},
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 16,
                            "items": {"type": "string", "format": "binary"},
                        },
                        "metadata": {"type": "string", "description": "JSON object, 8 KiB"},
                        "spectrum": {"type": "string", "enum": ["vis", "nir"]},
                        "allow_duplicate": {"type": "string", "enum": ["true", "false"]},
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["subject_id", "images"],
                    "properties": {
                        "subject_id": {"type": "string", "pattern": f"^{SUBJECT_ID.pattern}$"},
                        "images": {"type": "array", "minItems": 1, "maxItems": 16, "items": BASE64},
                        "metadata": {"type": "object", "description": "8 KiB"},
                        "spectrum": {"type": "string", "enum": ["vis", "nir"]},
                        "allow_duplicate": {"type": "boolean"},
                    },
                    "additionalProperties": False,
                }
            },
        },
    }
}

enroll_router = APIRouter(tags=["subjects"], route_class=ImageRoute)
router = APIRouter(tags=["subjects"], route_class=GuardedRoute)


def validate_subject_id(text: str) -> str:
    """Returns the id. Raises InvalidParameter if it is malformed."""
    if not SUBJECT_ID.fullmatch(text):
        raise InvalidParameter("a subject_id has 1 to 128 characters of A-Z a-z 0-9 . _ : @ -")
    if text in (".", ".."):
        # Clients resolve these in a URL, so such a subject could be enrolled but never erased.
        raise InvalidParameter("a subject_id may not be `.` or `..`")
    return text


def _flag(form: UploadForm, name: str) -> bool:
    text = form.fields.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise InvalidParameter(f"`{name}` must be true or false")
    return text in ("true", "1")


def _spectrum(form: UploadForm) -> Spectrum:
    text = form.fields.get("spectrum", "vis")
    try:
        return Spectrum(text)
    except ValueError as error:
        raise InvalidParameter("`spectrum` must be vis or nir") from error


@enroll_router.post(
    "/enroll",
    status_code=201,
    response_model=EnrolOut,
    openapi_extra=ENROL_BODY,
    dependencies=[ADMITTED],
    responses=problem_docs(
        *ANY_IMAGE, NoFace, MultipleFaces, UnsureOrientation, DuplicateFace, IdempotencyConflict
    ),
)
async def enroll(
    request: Request,
    operator: Operator,
    state: StateDep,
    space: SpaceDep,
    idempotency_key: Annotated[str | None, Header()] = None,
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
    answer = await state.enroller.enrol(
        space,
        Enrolment(
            subject_id=validate_subject_id(form.fields["subject_id"]),
            images=images,
            metadata=parse_metadata(form.fields.get("metadata")),
            spectrum=_spectrum(form),
            allow_duplicate=_flag(form, "allow_duplicate"),
            actor=operator.key_id,
            idempotency_key=idempotency_key,
        ),
    )
    state.metrics.enrolled.inc(sum(not sample.get("existing") for sample in answer["samples"]))
    return JSONResponse(answer, status_code=201)


def _encode_cursor(subject_id: str) -> str:
    return base64.urlsafe_b64encode(subject_id.encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return validate_subject_id(base64.urlsafe_b64decode(padded.encode("ascii")).decode("ascii"))
    except (binascii.Error, UnicodeError, InvalidParameter) as error:
        raise InvalidParameter("`cursor` is not one this service gave") from error


@router.get("/subjects", responses=problem_docs(*SIMPLE))
async def list_subjects(
    _operator: Operator,
    state: StateDep,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> SubjectsOut:
    """Subjects by id; `next_cursor` leads to the next page, null after the last."""
    after = None if cursor is None else _decode_cursor(cursor)
    async with state.db.read() as uow:
        page = await uow.subjects.page(after, limit + 1)
    more = len(page) > limit
    return SubjectsOut(
        subjects=[SubjectOut.of(record) for record in page[:limit]],
        next_cursor=_encode_cursor(page[limit - 1].subject_id) if more else None,
    )


@router.get("/subjects/{subject_id}", responses=problem_docs(*SIMPLE, SubjectNotFound))
async def get_subject(subject_id: str, _operator: Operator, state: StateDep) -> SubjectDetailOut:
    """One subject with its samples."""
    validate_subject_id(subject_id)
    async with state.db.read() as uow:
        record = await uow.subjects.get(subject_id)
        if record is None:
            raise SubjectNotFound(f"no subject {subject_id} is enrolled")
        samples = await uow.samples.of_subject(subject_id)
    summary = SubjectOut.of(record).model_dump(exclude={"samples"})
    return SubjectDetailOut(**summary, samples=[SampleOut.of(sample) for sample in samples])


@router.patch("/subjects/{subject_id}", responses=problem_docs(*SIMPLE, SubjectNotFound))
async def change_subject(
    subject_id: str, change: PatchIn, operator: Operator, state: StateDep
) -> SubjectDetailOut:
    """Replace the metadata of a subject."""
    validate_subject_id(subject_id)
    metadata = validate_metadata(change.metadata)
    async with state.db.write() as uow:
        if not await uow.subjects.set_metadata(subject_id, metadata):
            raise SubjectNotFound(f"no subject {subject_id} is enrolled")
        await uow.audit.add(operator.key_id, "subject.change", subject_id, {})
        await uow.commit()
    return await get_subject(subject_id, operator, state)


@router.delete("/subjects/{subject_id}", responses=problem_docs(*SIMPLE, SubjectNotFound))
async def erase_subject(subject_id: str, operator: Operator, state: StateDep, space: SpaceDep) -> ReceiptOut:
    """Erase a subject: rows, templates and index entries, at once."""
    receipt = await state.enroller.erase_subject(space, validate_subject_id(subject_id), operator.key_id)
    return ReceiptOut.of(receipt)


@router.delete(
    "/subjects/{subject_id}/samples/{sample_id}",
    responses=problem_docs(*SIMPLE, SubjectNotFound, SampleNotFound),
)
async def erase_sample(
    subject_id: str, sample_id: str, operator: Operator, state: StateDep, space: SpaceDep
) -> ReceiptOut:
    """Erase one sample with its templates and index entries."""
    receipt = await state.enroller.erase_sample(
        space, validate_subject_id(subject_id), sample_id, operator.key_id
    )
    return ReceiptOut.of(receipt)
