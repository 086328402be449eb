"""Stores what was answered about tracks, so that a track that is sent again is decided once.

A row that names a subject bears the id of the subject's key, and goes when that key does, as an undelivered
event does: `UnitOfWork.commit` sees to it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.sealing.keys import MasterKeyError, SealBroken, SubjectKey
from service.store.errors import IdempotencyTaken, StoreError
from service.store.portions import portions
from service.store.subject_keys import SubjectKeys, Unsealed
from service.store.tables import track_answers

BODY = "track answer"


def bound_to_answer(event_id: str) -> str:
    """What the wrapped key of an answer is bound to: no subject has such an id."""
    return f"/track/{event_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrackAnswer:
    """`scope`: the id of the caller's key. `idempotency_key`: None where the caller sent none. `subject_id`:
    who matched, if anybody did."""

    event_id: str
    scope: str
    idempotency_key: str | None
    request_digest: str
    camera: str | None
    seen_at: datetime
    subject_id: str | None
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrackAnswer:
    request_digest: str
    body: dict[str, Any]


class TrackAnswers:
    """All SQL about answered tracks."""

    def __init__(self, connection: AsyncConnection, keys: SubjectKeys, unsealed: Unsealed) -> None:
        self._connection, self._keys, self._unsealed = connection, keys, unsealed

    async def get(self, scope: str, idempotency_key: str) -> TrackAnswer | None:
        """The answer under this key. Raises StoreError if it does not open."""
        token = await self._keys.ids.answer_token(scope, idempotency_key)
        place = (track_answers.c.scope == scope) & (track_answers.c.key == token)
        row = (await self._connection.execute(select(track_answers).where(place))).first()
        if row is None:
            return None
        try:
            key = self._unsealed.masters.find(row.master_id).unwrap(
                bound_to_answer(row.event_id), row.key_id, row.wrapped
            )
            answer = json.loads(key.open(row.body, BODY, row.event_id))
        except (SealBroken, MasterKeyError) as error:
            raise StoreError("a stored answer does not open") from error
        return TrackAnswer(answer["request_digest"], answer["body"])

    async def seen_within(
        self, scope: str, camera: str | None, subject_id: str, seen_at: datetime, seconds: float
    ) -> bool:
        """Whether this caller was told of the subject before this camera within so many seconds."""
        subject_key = await self._keys.held_key_id(subject_id)
        if subject_key is None:
            return False
        around = timedelta(seconds=seconds)
        query = select(track_answers.c.event_id).where(
            track_answers.c.scope == scope,
            track_answers.c.camera.is_(None) if camera is None else track_answers.c.camera == camera,
            track_answers.c.subject_key_id == subject_key,
            track_answers.c.seen_at > seen_at - around,
            track_answers.c.seen_at < seen_at + around,
        )
        return (await self._connection.execute(query.limit(1))).first() is not None

    async def put(self, answer: NewTrackAnswer) -> bool:
        """Stores an answer; returns False, and stores nothing, if the subject it names is gone.

        Raises IdempotencyTaken if the key has an answer already, StoreError.
        """
        subject_key, token = None, answer.event_id
        if answer.subject_id is not None:
            subject_key = await self._keys.held_key_id(answer.subject_id)
            if subject_key is None:
                return False
        if answer.idempotency_key is not None:
            token = await self._keys.ids.answer_token(answer.scope, answer.idempotency_key)
        key, master = SubjectKey.new(), await self._keys.current_master()
        plain = json.dumps({"request_digest": answer.request_digest, "body": answer.body})
        try:
            await self._connection.execute(
                insert(track_answers).values(
                    event_id=answer.event_id,
                    scope=answer.scope,
                    key=token,
                    camera=answer.camera,
                    seen_at=answer.seen_at,
                    subject_key_id=subject_key,
                    key_id=key.key_id,
                    master_id=master.key_id,
                    wrapped=master.wrap(bound_to_answer(answer.event_id), key),
                    body=key.seal(plain.encode(), BODY, answer.event_id),
                    created_at=datetime.now(UTC),
                )
            )
        except IntegrityError as error:
            raise IdempotencyTaken("the idempotency key has an answer already") from error
        return True

    async def purge(self, before: datetime) -> int:
        """Deletes answers older than `before` and returns their number."""
        expired = delete(track_answers).where(track_answers.c.created_at < before)
        return (await self._connection.execute(expired)).rowcount

    async def erase_of(self, subject_key_ids: Sequence[str]) -> None:
        """Erases the answers that name the owners of these keys."""
        for chosen in portions(subject_key_ids):
            theirs = track_answers.c.subject_key_id.in_(chosen)
            await self._connection.execute(delete(track_answers).where(theirs))
