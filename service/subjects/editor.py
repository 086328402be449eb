"""Use cases that change who a subject is: rename, describe, merge, erase many. Each is one transaction.

Galleries hold templates by their ids and ask the database for the owner, so a rename or a merge is
there for every replica with its commit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from service.enrolment.enroller import Receipt, counts
from service.errors import ConsentMissing, HoldNotFound, InvalidParameter, SubjectExists, SubjectNotFound
from service.spaces.space import EmbeddingSpace
from service.store.audit import Pending
from service.store.database import Database
from service.store.records import Erased, SubjectRecord
from service.store.term_records import Consent, Hold, SubjectTerms
from service.store.unit import UnitOfWork

# Answers of merges lie beside those of Idempotency-Keys, under a scope that no key has.
MERGES = "subjects/merge"
Check = Callable[[dict[str, Any]], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectChange:
    """What changes; None leaves a field as it is. `clear_name`: the subject has no display name then.

    `clear_consent`, `clear_expiry`: it has no consent, or no end, then.
    """

    new_id: str | None = None
    display_name: str | None = None
    clear_name: bool = False
    metadata: dict[str, Any] | None = None
    consent: Consent | None = None
    clear_consent: bool = False
    expires_at: datetime | None = None
    clear_expiry: bool = False

    @property
    def describes(self) -> bool:
        """Whether name or metadata change."""
        return self.metadata is not None or self.display_name is not None or self.clear_name

    def apply(self, terms: SubjectTerms) -> SubjectTerms:
        """The terms after this change."""
        consent = None if self.clear_consent else self.consent or terms.consent
        expires_at = None if self.clear_expiry else self.expires_at or terms.expires_at
        return replace(terms, consent=consent, expires_at=expires_at)


@dataclass(frozen=True, slots=True)
class SubjectReceipt:
    """What was erased of one subject."""

    subject_id: str
    receipt: Receipt


class SubjectEditor:
    """Changes subjects. `follow`: applies a commit to the gallery of this process."""

    def __init__(self, db: Database, follow: Callable[[EmbeddingSpace], Awaitable[None]]) -> None:
        self._db, self._follow = db, follow

    async def create(
        self, subject_id: str, display_name: str | None, actor: str, *, require_consent: bool
    ) -> None:
        """Adds a subject without samples. `require_consent`: a subject must have consented before.

        Raises SubjectExists, ConsentMissing, StoreError.
        """
        if require_consent:
            raise ConsentMissing(
                f"no consent of subject {subject_id} is recorded, and this service needs one: enrol photos"
                " with `consent_date`"
            )
        async with self._db.write() as uow:
            await uow.subjects.lock([subject_id])
            if await uow.subjects.get(subject_id) is not None:
                raise SubjectExists(f"a subject {subject_id} is enrolled already")
            await uow.subjects.ensure(subject_id, None, display_name)
            await uow.audit.add(actor, "subject.create", subject_id, {})
            await uow.commit()

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
            before = await uow.terms.get(new_id)
            if (after := change.apply(before)) != before:
                await uow.terms.put(new_id, after)
                await uow.subjects.change(new_id)
                await uow.audit.add(actor, "subject.terms", new_id, _changed(before, after))
            if change.describes:
                await uow.subjects.change(
                    new_id,
                    metadata=change.metadata,
                    display_name=change.display_name,
                    clear_name=change.clear_name,
                )
                await uow.audit.add(actor, "subject.change", new_id, {})
            await uow.commit()

    async def hold(self, subject_id: str, reason: str, actor: str) -> None:
        """Puts a subject on legal hold; on one that is, only the reason changes. Raises SubjectNotFound."""
        async with self._db.write() as uow:
            terms = await self._terms_to_change(uow, subject_id)
            if terms.hold is None:
                hold, action = Hold(datetime.now(UTC), actor, reason), "subject.hold"
            else:
                hold, action = replace(terms.hold, reason=reason), "subject.hold.reason"
            await uow.terms.put(subject_id, replace(terms, hold=hold))
            await uow.audit.add(actor, action, subject_id, {})
            await uow.commit()

    async def release(self, subject_id: str, actor: str) -> None:
        """Lifts a legal hold; the next pass of retention may erase the subject.

        Raises SubjectNotFound, HoldNotFound.
        """
        async with self._db.write() as uow:
            terms = await self._terms_to_change(uow, subject_id)
            if terms.hold is None:
                raise HoldNotFound(f"subject {subject_id} is not on hold")
            await uow.terms.put(subject_id, replace(terms, hold=None))
            detail = {"since": terms.hold.since.isoformat(), "by": terms.hold.by}
            await uow.audit.add(actor, "subject.release", subject_id, detail)
            await uow.commit()

    @staticmethod
    async def _terms_to_change(uow: UnitOfWork, subject_id: str) -> SubjectTerms:
        """The terms of a subject whose lock this transaction has from now on. Raises SubjectNotFound."""
        await uow.subjects.lock([subject_id])
        if await uow.subjects.get(subject_id) is None:
            raise SubjectNotFound(f"no subject {subject_id} is enrolled")
        return await uow.terms.get(subject_id)

    async def merge(
        self, space: EmbeddingSpace, into: str, source: str, actor: str, check: Check
    ) -> dict[str, Any]:
        """Moves every sample of `source` into `into`, and `source` is gone. Returns the answer.

        A photo that both have stays one sample. Repeated within a day, it returns the first answer.
        `check`: raises for metadata that is too large together. Raises SubjectNotFound, OnHold if
        `source` is on hold, InvalidParameter, StoreError, and NotReady if the gallery has not caught up.
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

        Returns a receipt for each that existed, in the order given. Raises OnHold if one is on hold,
        StoreError, and NotReady if the gallery has not caught up.
        """
        done: list[tuple[str, Erased, Pending]] = []
        async with self._db.write(erasing=True) as uow:
            erased = await uow.subjects.begin_erasure(subject_ids)
            # Before the rows go: afterwards nothing knows whom an entry is about.
            names = await uow.audit.names_of(erased)
            for subject_id in subject_ids:
                if (numbers := erased.get(subject_id)) is not None:
                    detail, name = counts(numbers), names.get(subject_id)
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
    terms, others = await uow.terms.get(into), await uow.terms.get(source)
    moved = await uow.subjects.absorb(into, source)
    if (merged := _merged_terms(terms, others)) != terms:
        await uow.terms.put(into, merged)
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


def _merged_terms(target: SubjectTerms, other: SubjectTerms) -> SubjectTerms:
    """The terms of two subjects that become one; where both say something, `target` counts."""
    matches = [one for one in (target.last_matched_at, other.last_matched_at) if one is not None]
    return SubjectTerms(
        hold=target.hold,
        consent=target.consent or other.consent,
        expires_at=target.expires_at or other.expires_at,
        last_matched_at=max(matches, default=None),
    )


def _changed(before: SubjectTerms, after: SubjectTerms) -> dict[str, Any]:
    """What became of the terms, for the audit log, which keeps no text about a subject."""
    detail: dict[str, Any] = {}
    if before.consent != after.consent:
        detail["consent"] = None if after.consent is None else after.consent.on.isoformat()
    if before.expires_at != after.expires_at:
        detail["expires_at"] = None if after.expires_at is None else after.expires_at.isoformat()
    return detail
