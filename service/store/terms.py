"""Stores the terms of subjects: legal hold, consent, an end, and when a probe last matched them.

What people write, the reason of a hold and the reference of a consent, lies sealed under the subject's
key. Times, and who placed a hold, are in clear, because the database selects by them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.errors import OnHold
from service.sealing.keys import SealBroken
from service.sealing.tokens import MARK
from service.store.portions import portions
from service.store.subject_keys import SubjectKeys, Unsealed
from service.store.tables import samples, subject_terms, subjects
from service.store.term_records import Consent, Hold, SubjectTerms
from service.store.upsert import upsert

SEALED = "terms"
# A match is written down if the one that is known is older than this, so that most batches write nothing.
MATCH_STEP = timedelta(hours=1)
EXPIRED, UNMATCHED = "expires_at", "not_matched"


async def refuse_held(connection: AsyncConnection, ids: Mapping[str, str]) -> None:
    """Raises OnHold if one of these subjects is on hold. The caller has their locks, and erases then.

    `ids`: by token, as the caller knows them.
    """
    held: dict[str, Hold] = {}
    for chosen in portions(list(ids)):
        query = select(subject_terms.c.subject_id, subject_terms.c.hold_since, subject_terms.c.hold_by)
        query = query.where(subject_terms.c.subject_id.in_(chosen), subject_terms.c.hold_since.is_not(None))
        for token, since, by in await connection.execute(query):
            held[ids[token]] = Hold(since, by, None)
    if held:
        raise _refusal(held)


class Terms:
    """All SQL about terms. The database deletes them with their subject (cascade)."""

    def __init__(self, connection: AsyncConnection, keys: SubjectKeys, unsealed: Unsealed) -> None:
        self._connection, self._keys, self._unsealed = connection, keys, unsealed

    async def get(self, subject_id: str) -> SubjectTerms:
        """The terms of a subject; empty ones if there are none. Raises StoreError."""
        token = await self._keys.ids.token(subject_id)
        query = select(subject_terms).where(subject_terms.c.subject_id == token)
        row = (await self._connection.execute(query)).first()
        if row is None:
            return SubjectTerms()
        texts = await self._open(token, row.sealed)
        hold = consent = None
        if row.hold_since is not None:
            hold = Hold(row.hold_since, row.hold_by, texts.get("hold_reason"))
        if row.consent_on is not None:
            consent = Consent(row.consent_on, texts.get("consent_reference"))
        return SubjectTerms(
            hold=hold,
            consent=consent,
            expires_at=row.expires_at,
            last_matched_at=row.last_matched_at,
        )

    async def put(self, subject_id: str, terms: SubjectTerms) -> None:
        """Replaces the terms of a subject that exists; a later match that is known stays.

        The caller holds the subject's lock. Raises StoreError.
        """
        hold, consent = terms.hold, terms.consent
        texts = {
            "hold_reason": None if hold is None else hold.reason,
            "consent_reference": None if consent is None else consent.reference,
        }
        token = await self._keys.ids.token(subject_id)
        key = await self._keys.of_subject(token)
        values = {
            "hold_since": None if hold is None else hold.since,
            "hold_by": None if hold is None else hold.by,
            "consent_on": None if consent is None else consent.on,
            "expires_at": terms.expires_at,
            "sealed": key.seal(json.dumps(texts).encode(), SEALED),
        }
        inserted = upsert(self._connection, subject_terms).values(subject_id=token, **values)
        await self._connection.execute(
            inserted.on_conflict_do_update(index_elements=["subject_id"], set_=values)
        )
        if terms.last_matched_at is not None:
            await self.matched({token: terms.last_matched_at})

    async def matched(self, latest: Mapping[str, datetime]) -> None:
        """Notes when probes last matched these subjects; those that are gone are left out.

        Nobody waits for a subject that is being erased just now. Raises StoreError.
        """
        asked = await self._keys.ids.tokens(latest)
        seen = {token: latest[subject_id] for token, subject_id in asked.items()}
        known = await self._last_matches(sorted(seen))
        newer = [token for token, at in known.items() if at is None or seen[token] - at >= MATCH_STEP]
        for chosen in portions(sorted(newer)):
            kept = (
                select(subjects.c.subject_id)
                .where(subjects.c.subject_id.in_(chosen))
                .order_by(subjects.c.subject_id)
                .with_for_update(read=True, key_share=True, skip_locked=True)
            )
            rows = [
                {"subject_id": token, "last_matched_at": seen[token]}
                for token in (await self._connection.execute(kept)).scalars().all()
            ]
            if not rows:
                continue
            inserted = upsert(self._connection, subject_terms)
            at = inserted.excluded.last_matched_at
            older = or_(subject_terms.c.last_matched_at.is_(None), subject_terms.c.last_matched_at < at)
            await self._connection.execute(
                inserted.on_conflict_do_update(
                    index_elements=["subject_id"], set_={"last_matched_at": at}, where=older
                ),
                rows,
            )

    async def due(
        self,
        now: datetime,
        unmatched_before: datetime | None,
        limit: int,
        among: Collection[str] | None = None,
    ) -> dict[str, str]:
        """Subjects that retention erases, by token, each with its reason; none that is on hold.

        `unmatched_before`: neither enrolled nor matched since; None if that is no reason.
        `among`: only these.
        """
        reasons: list[ColumnElement[bool]] = [subject_terms.c.expires_at <= now]
        if unmatched_before is not None:
            reasons.append(_unused_since(unmatched_before))
        query = (
            select(subjects.c.subject_id, subject_terms.c.expires_at)
            .outerjoin(subject_terms, subject_terms.c.subject_id == subjects.c.subject_id)
            .where(subjects.c.subject_id > MARK, subject_terms.c.hold_since.is_(None), or_(*reasons))
            .order_by(subjects.c.subject_id)
            .limit(limit)
        )
        if among is not None:
            query = query.where(subjects.c.subject_id.in_(list(await self._keys.ids.tokens(among))))
        rows = await self._connection.execute(query)
        return {row[0]: EXPIRED if row[1] is not None and row[1] <= now else UNMATCHED for row in rows}

    async def count_held(self) -> int:
        """The number of subjects on hold."""
        query = select(func.count()).where(subject_terms.c.hold_since.is_not(None))
        return int((await self._connection.execute(query)).scalar_one())

    async def _last_matches(self, tokens: Sequence[str]) -> dict[str, datetime | None]:
        """Maps those of these tokens whose subject exists to its last known match."""
        found: dict[str, datetime | None] = {}
        for chosen in portions(tokens):
            query = (
                select(subjects.c.subject_id, subject_terms.c.last_matched_at)
                .outerjoin(subject_terms, subject_terms.c.subject_id == subjects.c.subject_id)
                .where(subjects.c.subject_id.in_(chosen))
            )
            found |= {row[0]: row[1] for row in await self._connection.execute(query)}
        return found

    async def _open(self, token: str, sealed: bytes | None) -> dict[str, Any]:
        """The sealed texts; nothing, and the row is refused, if they do not open."""
        if sealed is None:
            return {}
        key = (await self._keys.of_subjects([token])).get(token)
        if key is None:
            return {}
        try:
            found: dict[str, Any] = json.loads(key.open(sealed, SEALED))
        except SealBroken:
            self._unsealed.refused.add(f"terms under subject key {key.key_id}")
            return {}
        return found


def _unused_since(moment: datetime) -> ColumnElement[bool]:
    """Neither made, nor given a sample, nor matched at this moment or later."""
    last = subject_terms.c.last_matched_at
    sample = select(samples.c.sample_id).where(
        samples.c.subject_id == subjects.c.subject_id, samples.c.created_at >= moment
    )
    return and_(subjects.c.created_at < moment, or_(last.is_(None), last < moment), ~sample.exists())


def _refusal(held: Mapping[str, Hold]) -> OnHold:
    names = sorted(held)
    first = held[names[0]]
    since = first.since.isoformat(timespec="seconds")
    others = f", and {len(names) - 1} more" if len(names) > 1 else ""
    return OnHold(
        f"subject {names[0]} is on legal hold since {since}, placed by key {first.by}{others}; nothing was"
        " erased: an admin key must lift the hold before",
        held=[
            {"subject_id": name, "since": held[name].since.isoformat(), "by": held[name].by} for name in names
        ],
    )
