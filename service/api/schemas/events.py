"""Wire types of the event stream of decisions."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from service.api.schemas.base import Wire
from service.api.schemas.faces import ConditionOut, QualityOut
from service.api.schemas.recognition import SCORE_DIGITS, CalibrationOut, SearchOut
from service.api.schemas.subjects import DocumentedId
from service.inference.liveness_reading import Liveness
from service.live.decisions import Decision, SeenTrack

# Fields may be added to version 1, never renamed or removed.
SchemaVersion = Literal[1]


class SeenSubjectOut(Wire):
    subject_id: str
    display_name: str | None


class SeenTrackOut(Wire):
    """The track that was decided about. `id`: the caller's name of it; `seen_at`: when the camera saw it;
    `agree` of `of` usable frames voted as the decision says, and `needed` had to."""

    id: str
    seen_at: datetime
    agree: int
    of: int
    needed: int

    @classmethod
    def seen(cls, seen: SeenTrack) -> SeenTrackOut:
        votes = seen.votes
        return cls(id=seen.track, seen_at=seen.seen_at, agree=votes.agree, of=votes.of, needed=votes.needed)


class DecisionOut(Wire):
    """One decision about one face; no pixel and no vector.

    `subject`: who matched, or whom a verification asked about; null for an unknown face, for a verification
    against an image, and for a subject that has been erased or renamed since. `score`: the best one, null
    where the gallery is empty. `threshold`, `target_fmr` and `calibration` as in the answers of /identify.
    `search`: null for a verification. `key_id`: the key that asked. `crop`: whether `GET
    /events/{event_id}/crop` shows the face. `liveness`: none where nothing looked for a living face: then a
    printed photo passes as well.
    """

    schema_version: SchemaVersion = 1
    event_id: str
    at: datetime
    action: Literal["identify", "verify", "track"]
    decision: Literal["match", "unknown", "non-match", "uncalibrated", "undecided"]
    subject: SeenSubjectOut | None
    score: float | None
    threshold: float | None
    target_fmr: float | None
    calibration: CalibrationOut
    search: SearchOut | None
    condition: ConditionOut
    quality: QualityOut
    camera: str | None
    space_id: str
    key_id: str
    crop: bool
    track: SeenTrackOut | None = None
    liveness: Liveness = "none"

    @classmethod
    def of(cls, one: Decision) -> DecisionOut:
        picture, rule, subject = one.picture, one.rule, one.subject
        return cls(
            event_id=one.event_id,
            at=one.at,
            action=one.action,
            decision=one.decision,
            subject=None
            if subject is None
            else SeenSubjectOut(subject_id=subject.subject_id, display_name=subject.display_name),
            score=None if one.score is None else round(one.score, SCORE_DIGITS),
            threshold=rule.threshold,
            target_fmr=rule.target_fmr,
            calibration=CalibrationOut.of(one.calibration_id, rule),
            search=None if one.comparisons is None else SearchOut(comparisons=one.comparisons, fpir=one.fpir),
            condition=ConditionOut(
                spectrum=picture.spectrum,
                masked=picture.mask.masked,
                mask_state=picture.mask.state,
                mask_probability=round(picture.mask.probability, 4),
            ),
            quality=QualityOut.of(picture.quality),
            camera=one.camera,
            space_id=one.space_id,
            key_id=one.actor,
            crop=one.kept,
            track=None if one.track is None else SeenTrackOut.seen(one.track),
            liveness=one.liveness,
        )


class StreamStartOut(Wire):
    """The first event of a stream. `kept`: decisions that this process keeps for readers who come back;
    `keep_probes_hours`: how long crops of probes are kept, 0: not at all."""

    schema_version: SchemaVersion = 1
    kept: int
    keep_probes_hours: float


class MissedOut(Wire):
    """Decisions that this reader did not get. `count`: null where this process cannot know, since another
    one gave the `Last-Event-ID`."""

    count: int | None


class StreamEndOut(Wire):
    """Why the stream ends. `draining`: the service shuts down, come back. `unauthorized`: the key is revoked
    or has expired. `unavailable`: the database does not answer, come back. `all_sent`: the reader asked
    with `follow=false`, and has every decision that is kept."""

    reason: Literal["draining", "unauthorized", "unavailable", "all_sent"]


class CorrectIn(Wire):
    """`subject_id`: whom the face shows, if that is known. It may be absent where the decision named a
    subject, and may not be that subject: otherwise 422."""

    subject_id: DocumentedId | None = None


class CorrectedOut(Wire):
    """`was`: whom the decision named; `now`: whom it names; null: nobody."""

    event_id: str
    was: str | None
    now: str | None
