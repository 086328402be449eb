"""What a decision about a track leaves behind, in one transaction with the answer that is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.audit.recorder import last_matches
from service.errors import IdempotencyConflict
from service.live.decisions import new_event_id, of_track
from service.live.keeping import Seen
from service.matching.tracks import TrackRequest
from service.matching.trail import track_decision
from service.matching.voting import TrackVerdict
from service.spaces.space import EmbeddingSpace
from service.state import State
from service.store.errors import IdempotencyTaken
from service.store.track_answers import NewTrackAnswer

# Makes the JSON answer from the id of its event, None where there is none, and whether it is a repetition.
Encode = Callable[[str | None, bool], dict[str, Any]]


async def stored_answer(state: State, asked: TrackRequest) -> dict[str, Any] | None:
    """The answer that this idempotency key already got. Raises IdempotencyConflict, StoreError."""
    if asked.idempotency_key is None:
        return None
    async with state.db.read() as uow:
        stored = await uow.tracks.get(asked.actor, asked.idempotency_key)
    if stored is None:
        return None
    if stored.request_digest != asked.digest():
        raise IdempotencyConflict("this Idempotency-Key belongs to a different track")
    return stored.body


async def note_track(
    state: State, space: EmbeddingSpace, asked: TrackRequest, verdict: TrackVerdict, encode: Encode
) -> dict[str, Any]:
    """Counts, records and publishes the decision about a track, once; returns its answer.

    The answer, the entry of the audit log and the event that a webhook waits for are committed together: a
    track that is sent again after a crash finds all of them or none. No event is made of a repetition, nor of
    a track that nobody matches and that has more frames to come. Raises StoreError.
    """
    try:
        return await _note_once(state, space, asked, verdict, encode)
    except IdempotencyTaken:
        # The same track won the race in another task or process: its answer is the answer.
        if (stored := await stored_answer(state, asked)) is None:
            raise
        return stored


async def _note_once(
    state: State, space: EmbeddingSpace, asked: TrackRequest, verdict: TrackVerdict, encode: Encode
) -> dict[str, Any]:
    found = None if verdict.shown is None else verdict.shown.found
    decision = None if found is None else of_track(space.space_id, asked, verdict, found)
    subject_id = None if verdict.winner is None else verdict.winner.subject_id
    camera, event = asked.options.camera, None
    async with state.db.write() as uow:
        repeat = False
        if subject_id is not None and asked.quiet_s > 0:
            repeat = await uow.tracks.seen_within(
                asked.actor, camera, subject_id, asked.seen_at, asked.quiet_s
            )
        if decision is not None and not repeat and (asked.final or subject_id is not None):
            event = decision
        answer = encode(None if event is None else event.event_id, repeat)
        await uow.tracks.put(
            NewTrackAnswer(
                event_id=new_event_id() if decision is None else decision.event_id,
                scope=asked.actor,
                idempotency_key=asked.idempotency_key,
                request_digest=asked.digest(),
                camera=camera,
                seen_at=asked.seen_at,
                subject_id=subject_id,
                body=answer,
            )
        )
        if found is not None:
            entry = track_decision(asked, space.space_id, verdict, found, repeat=repeat)
            await uow.audit.extend([entry])
            await uow.terms.matched(last_matches([entry]))
        if event is not None:
            await state.outgoing.store(uow, [event])
        await uow.commit()
    if found is not None:
        state.metrics.audit_entries.inc()
        condition = str(found.description.condition)
        state.metrics.decisions.labels("track", condition, verdict.decision).inc()
    if event is not None and found is not None:
        state.outgoing.wake()
        # A repetition, and an answer that is given again, open nothing: they make no event.
        state.doors.offer(event)
        state.probes.offer(space, Seen(event, found.description))
    return answer
