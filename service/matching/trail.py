"""What the audit log keeps of comparisons: subjects, scores and decisions; no image and no template."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from service.inference.engine import Description
from service.matching.comparison import Identified, Verified
from service.matching.rules import Rule
from service.matching.tracks import TrackRequest
from service.matching.voting import TrackVerdict
from service.store.records import AuditedCandidate, AuditEvent

# Of a long list of accepted candidates the best ones, and the best one that was not accepted.
MAX_ACCEPTED = 5
DIGITS = 6


def identifications(
    actor: str, space_id: str, found: Sequence[Identified], *, camera: str | None = None
) -> list[AuditEvent]:
    """One event for each probe face. `camera`: what took the probe, if the caller named it."""
    return [_identification(actor, space_id, one, camera) for one in found]


def _identification(actor: str, space_id: str, found: Identified, camera: str | None) -> AuditEvent:
    accepted = [candidate for candidate in found.candidates if candidate.accepted]
    others = [candidate for candidate in found.candidates if not candidate.accepted]
    return AuditEvent(
        at=datetime.now(UTC),
        actor=actor,
        action="subject.identify",
        subject_id=accepted[0].subject_id if accepted else None,
        detail=_facts(space_id, found.decision, found.rule, found.description, camera)
        | {"accepted": len(accepted)},
        candidates=tuple(
            AuditedCandidate(one.subject_id, round(one.score, DIGITS), one.accepted)
            for one in (*accepted[:MAX_ACCEPTED], *others[:1])
        ),
        matched=tuple(candidate.subject_id for candidate in accepted),
    )


def track_decision(
    asked: TrackRequest, space_id: str, verdict: TrackVerdict, found: Identified, *, repeat: bool
) -> AuditEvent:
    """One event for a whole track. `found`: of the frame that stands for it; `repeat`: see `TrackRequest`."""
    winner, votes = verdict.winner, verdict.votes
    best = winner or next(iter(found.candidates), None)
    rule = found.rule if winner is None else winner.rule
    detail = _facts(space_id, verdict.decision, rule, found.description, asked.options.camera) | {
        "track": asked.track,
        "seen_at": asked.seen_at.isoformat(),
        "agree": votes.agree,
        "of": votes.of,
        "needed": votes.needed,
        "final": asked.final,
        "repeat": repeat,
    }
    candidates = () if best is None else (best,)
    return AuditEvent(
        at=datetime.now(UTC),
        actor=asked.actor,
        action="subject.track",
        subject_id=None if winner is None else winner.subject_id,
        detail=detail,
        candidates=tuple(
            AuditedCandidate(one.subject_id, round(one.score, DIGITS), winner is not None)
            for one in candidates
        ),
        matched=() if winner is None else (winner.subject_id,),
    )


def verification(
    actor: str, space_id: str, subject_id: str | None, found: Verified, *, camera: str | None = None
) -> AuditEvent:
    """`subject_id`: None if an image was the reference."""
    return AuditEvent(
        at=datetime.now(UTC),
        actor=actor,
        action="subject.verify",
        subject_id=subject_id,
        detail=_facts(space_id, found.decision, found.rule, found.probe, camera)
        | {
            "score": round(found.score, DIGITS),
            "reference": "subject" if subject_id is not None else "image",
        },
        matched=(subject_id,) if subject_id is not None and found.decision == "match" else (),
    )


def extraction(actor: str, space_id: str, faces: int) -> AuditEvent:
    """Templates that were handed out."""
    detail = {"space_id": space_id, "faces": faces}
    return AuditEvent(at=datetime.now(UTC), actor=actor, action="template.extract", detail=detail)


def _facts(
    space_id: str, decision: str, rule: Rule, probe: Description, camera: str | None
) -> dict[str, Any]:
    named = {} if camera is None else {"camera": camera}
    if rule.origin is not None:
        named["thresholds"] = str(rule.origin)
    return named | {
        "space_id": space_id,
        "decision": decision,
        "threshold": None if rule.threshold is None else round(rule.threshold, DIGITS),
        "fmr": rule.target_fmr,
        "pair": str(rule.pair),
        "condition": str(probe.condition),
        "liveness": probe.liveness.state,
    }
