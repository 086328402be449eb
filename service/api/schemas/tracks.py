"""Wire types of /tracks."""

from __future__ import annotations

from typing import Any, Literal

from faces.strict import ZonedMoment
from service.api.schemas.base import Wire
from service.api.schemas.faces import ConditionOut, FaceOut, QualityOut, sighting
from service.api.schemas.recognition import SCORE_DIGITS, CalibrationOut, SearchOut
from service.inference.liveness_reading import Liveness
from service.matching.disclosure import Disclosure
from service.matching.tracks import TrackRequest
from service.matching.voting import Frame, TrackVerdict


class VotesOut(Wire):
    """`agree`: usable frames that have the subject as best candidate at or above its threshold, or, where
    nobody matches, have nobody; `of`: usable frames; `needed`: how many had to agree."""

    agree: int
    of: int
    needed: int


class TrackSubjectOut(Wire):
    """Who matched. `score` and `margin`: of the frame that passed its threshold by most."""

    subject_id: str
    display_name: str | None
    metadata: dict[str, Any]
    score: float
    margin: float | None


class TrackFrameOut(Wire):
    """One image of the request. `usable`: it could vote; `agrees`: it voted for the matched subject.

    `code` and `detail`: why nothing was found of it, such as `no_face`; null otherwise, as face, condition
    and quality are where they are not null.
    """

    index: int
    usable: bool
    agrees: bool
    code: str | None
    detail: str | None
    face: FaceOut | None
    condition: ConditionOut | None
    quality: QualityOut | None

    @classmethod
    def of(cls, frame: Frame, verdict: TrackVerdict) -> TrackFrameOut:
        seen = (
            dict.fromkeys(("face", "condition", "quality"))
            if frame.found is None
            else sighting(frame.found.description)
        )
        return cls(
            index=frame.index,
            usable=frame.usable,
            agrees=verdict.agrees(frame),
            code=None if frame.refusal is None else frame.refusal.code,
            detail=None if frame.refusal is None else frame.refusal.detail,
            **seen,
        )


class TrackOut(Wire):
    """The decision about a track. `event_id`: of its event; null where none was made, since the answer is a
    repetition, or nobody matched and more frames were to come. `repeat`: the same subject was seen before the
    same camera within `quiet_s`. `shown`: the frame that `threshold`, `target_fmr`, `calibration` and
    `search` are about, null where no frame shows a face, as these are then. `liveness`: that of every frame
    that votes for the subject, none where they differ; a face that is denied votes for nobody."""

    space_id: str
    track: str
    seen_at: ZonedMoment
    event_id: str | None
    final: bool
    repeat: bool
    decision: Literal["match", "unknown", "undecided"]
    votes: VotesOut
    subject: TrackSubjectOut | None
    shown: int | None
    threshold: float | None
    target_fmr: float | None
    calibration: CalibrationOut | None
    search: SearchOut | None
    frames: list[TrackFrameOut]
    timing_ms: dict[str, float]
    liveness: Liveness = "none"

    @classmethod
    def of(
        cls,
        space_id: str,
        asked: TrackRequest,
        verdict: TrackVerdict,
        disclosure: Disclosure,
        timing_ms: dict[str, float],
        *,
        event_id: str | None,
        repeat: bool,
    ) -> TrackOut:
        found = None if verdict.shown is None else verdict.shown.found
        winner, votes, digits = verdict.winner, verdict.votes, disclosure.score_digits
        digits = SCORE_DIGITS if digits is None else digits
        rule = winner.rule if winner is not None else (None if found is None else found.rule)
        subject = None
        if winner is not None:
            subject = TrackSubjectOut(
                subject_id=winner.subject_id,
                display_name=winner.display_name,
                metadata=dict(winner.metadata),
                score=round(winner.score, digits),
                margin=None if winner.margin is None else round(winner.margin, digits),
            )
        return cls(
            space_id=space_id,
            track=asked.track,
            seen_at=asked.seen_at,
            event_id=event_id,
            final=asked.final,
            repeat=repeat,
            decision=verdict.decision,
            votes=VotesOut(agree=votes.agree, of=votes.of, needed=votes.needed),
            subject=subject,
            shown=None if verdict.shown is None else verdict.shown.index,
            threshold=None if rule is None else rule.threshold,
            target_fmr=None if rule is None else rule.target_fmr,
            calibration=None
            if found is None or rule is None
            else CalibrationOut.of(found.calibration_id, rule),
            search=None if found is None else SearchOut(comparisons=found.comparisons, fpir=found.fpir),
            frames=[TrackFrameOut.of(frame, verdict) for frame in verdict.frames],
            timing_ms=timing_ms,
            liveness=verdict.liveness,
        )
