"""The enrolled gallery as the references of an evaluation: the templates that requests are compared with."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from faces.types import Role
from service.evaluation.described import Described, Template
from service.evaluation.labelled import LabelledPhoto
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.records import OwnedTemplate

# All templates of the labelled subjects are taken, and so many of the rest of the gallery, drawn at random:
# rates need no more, and memory stays flat in a large gallery.
MOST_OTHERS = 2000


async def enrolled_references(
    db: Database, space: EmbeddingSpace, subjects: Collection[str]
) -> list[Described]:
    """References of these subjects, as far as they are enrolled, and of others. Raises StoreError."""
    found: dict[str, Described] = {}
    async with db.read() as uow:
        for subject_id in sorted(subjects):
            # The digest shows a probe that is the very photo that was enrolled.
            digests = {one.sample_id: one.digest for one in await uow.samples.of_subject(subject_id)}
            for one in await uow.templates.of_subject(space.space_id, subject_id):
                found[one.owner.sample_id] = _reference(space, one, digests.get(one.owner.sample_id, ""))
        drawn = await uow.templates.pick_random(space.space_id, MOST_OTHERS)
        owners = await uow.templates.owners([one.template_id for one in drawn])
    for other in drawn:
        owner = owners.get(other.template_id)
        if owner is not None and owner.sample_id not in found:
            found[owner.sample_id] = _reference(space, OwnedTemplate(owner, other.vector), "")
    return list(found.values())


def _reference(space: EmbeddingSpace, one: OwnedTemplate, digest: str) -> Described:
    owner = one.owner
    photo = LabelledPhoto(
        subject=owner.subject_id,
        path=Path(),
        name=f"{owner.subject_id}, enrolled sample {owner.sample_id}",
        role=Role.REFERENCE,
    )
    template = Template(
        vector=one.vector,
        condition=owner.condition,
        mask_state="",
        quality=0,
        reasons=(),
        box=(0, 0, 0, 0),
        cohort=space.cohort_id,
        taken=space.taken(one.vector, Role.REFERENCE, owner.condition),
    )
    return Described(photo, digest, template)
