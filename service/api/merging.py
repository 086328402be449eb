"""Routes that change several subjects at once: merge two, erase many."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.deps import Operator, SpaceDep, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.subjects import ErasedManyOut, EraseManyIn, MergedOut, MergeIn
from service.api.subjects import SIMPLE
from service.errors import InvalidParameter, OnHold, StorageFull, SubjectNotFound
from service.subjects.validation import validate_metadata, validate_subject_id

router = APIRouter(tags=["subjects"], route_class=GuardedRoute)


@router.post(
    "/subjects/{subject_id}/merge", responses=problem_docs(*SIMPLE, SubjectNotFound, OnHold, StorageFull)
)
async def merge_subject(
    subject_id: str, other: MergeIn, operator: Operator, state: StateDep, space: SpaceDep
) -> MergedOut:
    """Move every sample of another subject into this one; the other is gone. It cannot be undone.

    Where both have a display name, a metadata key, a consent or an end, this one's stays. A photo that
    both have is one sample. The same request within a day gets the same answer.
    """
    answer = await state.editor.merge(
        space,
        validate_subject_id(subject_id),
        validate_subject_id(other.subject_id),
        operator.key_id,
        validate_metadata,
    )
    return MergedOut(**answer)


@router.post("/subjects/delete", responses=problem_docs(*SIMPLE, OnHold, StorageFull))
async def erase_subjects(
    wanted: EraseManyIn, operator: Operator, state: StateDep, space: SpaceDep
) -> ErasedManyOut:
    """Erase up to 400 subjects in one transaction: every one that is enrolled, or none if it fails.

    Ids that nobody has are listed and stop nothing, so the request may be repeated. One subject on legal
    hold stops all (409 `on_hold`, which names each in `held`).
    """
    ids = [validate_subject_id(subject_id) for subject_id in wanted.subject_ids]
    if len(set(ids)) < len(ids):
        raise InvalidParameter("`subject_ids` names a subject twice")
    receipts = await state.editor.erase_many(space, ids, operator.key_id)
    return ErasedManyOut.of(receipts, ids)
