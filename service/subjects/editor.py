"""Use cases that change who a subject is: rename, describe, merge, erase many. Each is one transaction.

Galleries hold templates by their ids and ask the database for the owner, so a rename or a merge is
there for every replica with its commit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.enrolment.enroller import Receipt, counts
from service.errors import InvalidParameter, SubjectExists, SubjectNotFound
from service.spaces.space import EmbeddingSpace
from service.store.audit import Pending
from service.store.database import Database
from service.store.records import Erased, SubjectRecord
from service.store.unit import UnitOfWork

# Answers of merges lie beside those of Idempotency-Keys, under a scope that no key has.
MERGES = "subjects/merge"
Check = Callable[[dict[str, Any]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectChange:
    """What changes; None leaves a field as it is. `clear_name`: the subject has no display name then."""

    new_id: str | None = None
    display_name: str | None = None
    clear_name: bool = False
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class SubjectReceipt:
    """What was erased of one subject."""

    subject_id: str
    receipt: Receipt


class SubjectEditor:
    """Changes subjects. `follow`: applies a commit to the gallery of this process."""

    def __init__(self, db: Database, follow: Callable[[EmbeddingSpace], Awaitable[None]]) -> None:
        self._db, self._follow = db, follow

    async def change(self, subject_id: str, change: SubjectChange, actor: str) -> None:
        """Changes a subject. Raises SubjectNotFound, SubjectExists, StoreError."""
        new_id = change.new_id or subject_id
        async with self._db.write() as uow:
            await uow.subjects.lock([subject_id, new_id])
            if await uow.subjects.get(subject_id) is None:
                raise SubjectNotFound(f"no subject {subject_id} is enrolled")
            if new_id != subject_id:
                if await uow.subjects.get(new_id) is not None:
                    raise SubjectExists(
                        f"a subject {new_id} is enrolled already: merge the two, or choose another"
                    )
                await uow.subjects.rename(subject_id, new_id)
                await uow.audit.add(actor, "subject.rename", new_id, {})
            if change.metadata is not None or change.display_name is not None or change.clear_name:
                await uow.subjects.change(
                    new_id,
                    metadata=change.metadata,
                    display_name=change.display_name,
                    clear_name=change.clear_name,
                )
                await uow.audit.add(actor, "subject.change", new_id, {})
            await uow.commit()

    async def merge(
        self, space: EmbeddingSpace, into: str, source: str, actor: str, check: Check
    ) -> dict[str, Any]:
        """Moves every sample of `source` into `into`, and `source` is gone. Returns the answer.

        A photo that both have stays one sample. Repeated within a day, it returns the first answer.
        `check`: raises for metadata that is too large together. Raises SubjectNotFound,
        InvalidParameter, StoreError, and NotReady if the gallery has not caught up.
        """
        if into == source:
            raise InvalidParameter("a subject cannot be merged into itself: name another one")
        key = hashlib.sha256(f"{into}\0{source}".encode()).hexdigest()
        async with self._db.write() as uow:
            await uow.subjects.lock([into, source])
            target, other = await uow.subjects.get(into), await uow.subjects.get(source)
            if target is None:
                raise SubjectNotFound(f"no subject {into} is enrolled")
            if other is None:
                stored = await uow.idempotency.get(MERGES, key)
                if stored is None:
                    raise SubjectNotFound(f"no subject {source} is enrolled")
                return stored.body
            answer = await _merge(uow, target, other, actor, check)
            await uow.idempotency.replace(
                MERGES, key, request_digest=key, subject_id=into, status=200, body=answer
            )
            await uow.commit()
        await self._follow(space)
        return answer

    async def erase_many(
        self, space: EmbeddingSpace, subject_ids: Sequence[str], actor: str
    ) -> tuple[SubjectReceipt, ...]:
        """Erases those of these subjects that exist, all of them or, if anything fails, none.

        Returns a receipt for each that existed, in the order given. Raises StoreError, and NotReady if
        the gallery has not caught up.
        """
        done: list[tuple[str, Erased, Pending]] = []
        async with self._db.write(erasing=True) as uow:
            erased = await uow.subjects.begin_erasure(subject_ids)
            # Before the rows go: afterwards nothing knows whom an entry is about.
            names = await uow.audit.names_of(erased)
            for subject_id in subject_ids:
                if (numbers := erased.get(subject_id)) is not None:
                    detail, name = counts(numbers), names[subject_id]
                    entry = await uow.audit.add(actor, "subject.erase", None, detail, name=name)
                    done.append((subject_id, numbers, entry))
            await uow.subjects.end_erasure(list(erased))
            await uow.commit()
        await self._follow(space)
        return tuple(
            SubjectReceipt(subject_id, Receipt(numbers, entry.audit_id))
            for subject_id, numbers, entry in done
        )


async def _merge(
    uow: UnitOfWork, target: SubjectRecord, other: SubjectRecord, actor: str, check: Check
) -> dict[str, Any]:
    """Merges two subjects whose locks this transaction holds. Where both say something, `target` counts."""
    metadata = {**other.metadata, **target.metadata}
    check(metadata)
    into, source = target.subject_id, other.subject_id
    # The log knows `source` by its own name, which the merge deletes; this says what became of it.
    name = (await uow.audit.names_of([source])).get(source)
    await uow.audit.add(actor, "subject.merged", None, {}, name=name)
    moved = await uow.subjects.absorb(into, source)
    await uow.subjects.describe(
        into,
        metadata=metadata,
        display_name=target.display_name or other.display_name,
        created_at=min(target.created_at, other.created_at),
    )
    detail = {"moved": moved.moved, "already_there": moved.already_there}
    await uow.audit.add(actor, "subject.merge", into, detail | {"merged": name})
    samples = target.sample_count + moved.moved
    return {"subject_id": into, "merged": source, **detail, "samples": samples}
