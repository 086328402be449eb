"""CompreFace's routes of subjects: add, list, rename or merge, delete."""

from __future__ import annotations

from dataclasses import dataclass

from service.api.compreface.routes import CompreFaceRoute, with_and_without_slash
from service.api.compreface.routes import router as compreface_router
from service.api.compreface.schemas import DeletedOut, NameIn, NameOut, NamesOut, UpdatedOut
from service.api.deps import Admin, Operator, SpaceDep, StateDep
from service.api.schemas.subjects import MAX_ERASED
from service.errors import SubjectNotFound
from service.spaces.space import EmbeddingSpace
from service.state import State
from service.subjects.editor import SubjectChange
from service.subjects.free_names import free_name, name_of
from service.subjects.validation import validate_metadata

PATH = "/recognition/subjects"
# A name may hold slashes.
ONE = PATH + "/{subject:path}"
LISTED_AT_ONCE = 1000

router = compreface_router(CompreFaceRoute)


@dataclass(frozen=True, slots=True)
class ErasedAll:
    subjects: int
    samples: int


async def erase_all(state: State, space: EmbeddingSpace, actor: str) -> ErasedAll:
    """Erases every subject, `MAX_ERASED` in a transaction. Raises OnHold at the first batch with a hold."""
    subjects = samples = 0
    while True:
        async with state.db.read() as uow:
            found = await uow.subjects.page(None, MAX_ERASED)
        if not found:
            return ErasedAll(subjects, samples)
        receipts = await state.editor.erase_many(space, [one.subject_id for one in found], actor)
        subjects += len(receipts)
        samples += sum(one.receipt.erased.samples for one in receipts)


@with_and_without_slash(router.post, PATH, status_code=201)
async def add_subject(wanted: NameIn, operator: Operator, state: StateDep) -> NameOut:
    """Add a subject without examples."""
    named = free_name(wanted.subject)
    await state.editor.create(
        named.subject_id,
        named.display_name,
        operator.key_id,
        require_consent=state.settings.require_consent,
    )
    return NameOut(subject=wanted.subject)


@with_and_without_slash(router.get, PATH)
async def list_subjects(_operator: Operator, state: StateDep) -> NamesOut:
    """The names of all subjects."""
    names: list[str] = []
    after: str | None = None
    while True:
        async with state.db.read() as uow:
            found = await uow.subjects.page(after, LISTED_AT_ONCE)
        names += [name_of(one.subject_id, one.display_name) for one in found]
        if len(found) < LISTED_AT_ONCE:
            return NamesOut(subjects=sorted(names))
        after = found[-1].place


@router.put(ONE)
async def rename_subject(
    subject: str, wanted: NameIn, operator: Operator, state: StateDep, space: SpaceDep
) -> UpdatedOut:
    """Rename a subject. If somebody has the new name, both become one, which cannot be undone."""
    old, new = free_name(subject), free_name(wanted.subject)
    async with state.db.read() as uow:
        known = await uow.subjects.get(old.subject_id)
        taken = await uow.subjects.get(new.subject_id) is not None
    if known is None:
        raise SubjectNotFound("no subject of this name is enrolled")
    if old.subject_id == new.subject_id:
        return UpdatedOut(updated=True)
    if taken:
        await state.editor.merge(space, new.subject_id, old.subject_id, operator.key_id, validate_metadata)
        return UpdatedOut(updated=True)
    # A display name that somebody gave besides the id stays.
    was_named = known.display_name is not None and known.display_name == old.display_name
    change = SubjectChange(
        new_id=new.subject_id,
        display_name=new.display_name,
        clear_name=new.display_name is None and was_named,
    )
    await state.editor.change(old.subject_id, change, operator.key_id)
    return UpdatedOut(updated=True)


@with_and_without_slash(router.delete, PATH)
async def delete_all(admin: Admin, state: StateDep, space: SpaceDep) -> DeletedOut:
    """Erase every subject with every example."""
    return DeletedOut(deleted=(await erase_all(state, space, admin.key_id)).subjects)


@router.delete(ONE)
async def delete_subject(subject: str, operator: Operator, state: StateDep, space: SpaceDep) -> NameOut:
    """Erase a subject with every example."""
    await state.enroller.erase_subject(space, free_name(subject).subject_id, operator.key_id)
    return NameOut(subject=subject)
