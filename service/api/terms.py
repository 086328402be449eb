"""Routes of /subjects/{id}/hold and /export: a legal hold, and what is stored, for the person."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from service.api.deps import Admin, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.subjects import SubjectDetailOut
from service.api.schemas.terms import HoldIn
from service.api.subjects import SIMPLE, subject_detail
from service.errors import HoldNotFound, StorageFull, SubjectNotFound
from service.subjects.access_export import export_subject
from service.subjects.validation import validate_subject_id

ZIP = "application/zip"
A_ZIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "a zip archive; one that was cut off does not open",
        "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(tags=["subjects"], route_class=GuardedRoute)


@router.put("/subjects/{subject_id}/hold", responses=problem_docs(*SIMPLE, SubjectNotFound, StorageFull))
async def hold_subject(subject_id: str, asked: HoldIn, admin: Admin, state: StateDep) -> SubjectDetailOut:
    """Put a subject on legal hold: until it is lifted, nothing of the subject is erased (409 `on_hold`).

    Neither a request, nor a merge into another subject, nor retention erases it, its samples, or its
    crops. On a subject that is on hold already only the reason changes.
    """
    await state.editor.hold(validate_subject_id(subject_id), asked.reason, admin.key_id)
    return await subject_detail(state, subject_id)


@router.delete(
    "/subjects/{subject_id}/hold",
    responses=problem_docs(*SIMPLE, SubjectNotFound, HoldNotFound, StorageFull),
)
async def release_subject(subject_id: str, admin: Admin, state: StateDep) -> SubjectDetailOut:
    """Lift a legal hold. Whatever is due by then, retention erases in its next pass."""
    await state.editor.release(validate_subject_id(subject_id), admin.key_id)
    return await subject_detail(state, subject_id)


@router.get(
    "/subjects/{subject_id}/export",
    response_class=StreamingResponse,
    responses=A_ZIP | problem_docs(*SIMPLE, SubjectNotFound, StorageFull),
)
async def export(subject_id: str, admin: Admin, state: StateDep) -> StreamingResponse:
    """Everything that is stored about a subject, for that person, as a zip archive.

    It holds data that are sealed otherwise: templates, and crops as pictures. What the audit log says
    about the subject is in it, without what concerns others.
    """
    content = await export_subject(state.db, validate_subject_id(subject_id), admin.key_id)
    headers = {"Content-Disposition": 'attachment; filename="subject.zip"'}
    return StreamingResponse(content, media_type=ZIP, headers=headers)
