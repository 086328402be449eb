"""CompreFace's routes of saved examples: add, list, delete."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import Query, Request

from service.access.keys import Role
from service.api.compreface.options import Probability, min_score_of
from service.api.compreface.recognition import FILE_BODY
from service.api.compreface.routes import CompreFaceImageRoute, CompreFaceRoute, with_and_without_slash
from service.api.compreface.routes import router as compreface_router
from service.api.compreface.schemas import DeletedOut, ExampleOut, ExamplesOut
from service.api.compreface.subjects import erase_all
from service.api.deps import ADMITTED, Operator, SpaceDep, StateDep
from service.api.uploads import form_of
from service.enrolment.types import Duplicates, Enrolment
from service.errors import Forbidden, SampleNotFound, SubjectNotFound
from service.subjects.free_names import free_name, name_of

PATH = "/recognition/faces"
Name = Annotated[str, Query(min_length=1, max_length=1000)]
MaybeName = Annotated[str | None, Query(min_length=1, max_length=1000)]
Page = Annotated[int, Query(ge=0, le=1_000_000_000)]
Size = Annotated[int, Query(ge=1, le=2000)]

image_router = compreface_router(CompreFaceImageRoute, dependencies=[ADMITTED])
router = compreface_router(CompreFaceRoute)


@with_and_without_slash(image_router.post, PATH, status_code=201, openapi_extra=FILE_BODY)
async def add_example(
    request: Request,
    operator: Operator,
    state: StateDep,
    space: SpaceDep,
    subject: Name,
    det_prob_threshold: Probability = None,
) -> ExampleOut:
    """Enrol a photo of a subject, who is added if the name is new. Duplicates are met as the setting says."""
    named = free_name(subject)
    asked = Enrolment(
        subject_id=named.subject_id,
        images=(form_of(request).image("file"),),
        metadata=None,
        spectrum=None,
        duplicates=Duplicates(state.settings.duplicates),
        actor=operator.key_id,
        display_name=named.display_name,
        min_score=min_score_of(det_prob_threshold, space, state.settings),
    )
    with state.enrolling.admitted():
        answer = await state.enroller.enrol(space, asked)
    (sample,) = answer["samples"]
    state.metrics.enrolled.inc(not sample.get("existing"))
    return ExampleOut(image_id=sample["sample_id"], subject=subject)


@with_and_without_slash(router.get, PATH)
async def list_examples(
    _operator: Operator, state: StateDep, page: Page = 0, size: Size = 20, subject: MaybeName = None
) -> ExamplesOut:
    """Saved examples page by page, of one subject or of all."""
    subject_id = None if subject is None else free_name(subject).subject_id
    async with state.db.read() as uow:
        total = await uow.samples.count(subject_id)
        found = await uow.samples.listed(subject_id, skip=page * size, limit=size)
        owners = await uow.subjects.at(place for _, place in found)
    return ExamplesOut(
        faces=[
            ExampleOut(
                image_id=sample_id, subject=name_of(owners[place].subject_id, owners[place].display_name)
            )
            for sample_id, place in found
        ],
        page_number=page,
        page_size=size,
        total_pages=math.ceil(total / size),
        total_elements=total,
    )


@with_and_without_slash(router.delete, PATH)
async def delete_examples(
    operator: Operator, state: StateDep, space: SpaceDep, subject: MaybeName = None
) -> DeletedOut:
    """Erase every example of a subject, who stays; without `subject` erase everybody (role admin)."""
    if subject is not None:
        try:
            erased = await state.enroller.erase_samples(space, free_name(subject).subject_id, operator.key_id)
        except SubjectNotFound:
            # Viseron deletes before it adds, also where there is nothing yet.
            erased = 0
        return DeletedOut(deleted=erased)
    if not operator.allows(Role.ADMIN):
        raise Forbidden(f"to erase every face needs the role admin, the key has {operator.role.value}")
    return DeletedOut(deleted=(await erase_all(state, space, operator.key_id)).samples)


@with_and_without_slash(router.delete, PATH + "/{image_id}")
async def delete_example(image_id: str, operator: Operator, state: StateDep, space: SpaceDep) -> ExampleOut:
    """Erase one example."""
    async with state.db.read() as uow:
        place = await uow.samples.subject_of(image_id)
        owner = None if place is None else await uow.subjects.get(place)
    if owner is None:
        raise SampleNotFound("no example of this id is saved")
    await state.enroller.erase_sample(space, owner.subject_id, image_id, operator.key_id)
    return ExampleOut(image_id=image_id, subject=name_of(owner.subject_id, owner.display_name))
