"""Decisions of identify and verify as events: who, by which rule, on what picture; no pixel, no vector."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from faces.masks import MaskReading
from faces.types import Spectrum
from service.inference.engine import Description
from service.inference.liveness_reading import Liveness
from service.inference.quality import Quality
from service.matching.comparison import Candidate, Identified, Verified
from service.matching.rules import Rule
from service.matching.tracks import TrackRequest
from service.matching.voting import TrackVerdict, Votes

EVENT_ID = re.compile(r"[0-9a-f]{24}")
Action = Literal["identify", "verify", "track"]


def new_event_id(at_ms: int | None = None) -> str:
    """An id that sorts by its millisecond: 12 hexadecimal digits of the time, 12 random ones."""
    return f"{time.time_ns() // 1_000_000 if at_ms is None else at_ms:012x}{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True)
class SeenSubject:
    subject_id: str
    display_name: str | None


@dataclass(frozen=True, slots=True)
class Picture:
    """What kind of picture the probe was."""

    spectrum: Spectrum
    mask: MaskReading
    quality: Quality

    @classmethod
    def of(cls, seen: Description) -> Picture:
        return cls(seen.crop.spectrum, seen.mask, seen.quality)


@dataclass(frozen=True, slots=True)
class SeenTrack:
    """The track that a decision is about: the caller's name of it, when it was seen, and its votes."""

    track: str
    seen_at: datetime
    votes: Votes


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision about one face.

    `actor`: the id of the key that asked. `subject`: who matched, or whom a verification asked about; None
    for an unknown face and for a verification against an image. `score`: the best one, None if the gallery
    is empty. `comparisons`: templates that the probe was compared with; `fpir`: see `Rules`, None for a
    verification. `kept`: the crop of the face is kept under the event's id. `track`: of `track` alone.
    """

    event_id: str
    at: datetime
    action: Action
    actor: str
    space_id: str
    decision: Literal["match", "unknown", "non-match", "uncalibrated", "undecided"]
    subject: SeenSubject | None
    score: float | None
    rule: Rule
    calibration_id: str
    comparisons: int | None
    fpir: float | None
    picture: Picture
    camera: str | None
    kept: bool = False
    track: SeenTrack | None = None
    liveness: Liveness = "none"


def of_identification(actor: str, space_id: str, found: Identified, *, camera: str | None) -> Decision:
    accepted = next((each for each in found.candidates if each.accepted), None)
    return _about(actor, space_id, found, accepted, camera=camera)


def of_track(space_id: str, asked: TrackRequest, verdict: TrackVerdict, found: Identified) -> Decision:
    """`found`: the identification of the frame that stands for the track."""
    return replace(
        _about(asked.actor, space_id, found, verdict.winner, camera=asked.options.camera),
        action="track",
        decision=verdict.decision,
        track=SeenTrack(asked.track, asked.seen_at, verdict.votes),
        liveness=verdict.liveness,
    )


def _about(
    actor: str, space_id: str, found: Identified, winner: Candidate | None, *, camera: str | None
) -> Decision:
    """What a decision about one identified face says; `winner`: who matched."""
    best = winner or next(iter(found.candidates), None)
    return Decision(
        event_id=new_event_id(),
        at=datetime.now(UTC),
        action="identify",
        actor=actor,
        space_id=space_id,
        decision=found.decision,
        subject=None if winner is None else SeenSubject(winner.subject_id, winner.display_name),
        score=None if best is None else best.score,
        rule=found.rule if best is None else best.rule,
        calibration_id=found.calibration_id,
        comparisons=found.comparisons,
        fpir=found.fpir,
        picture=Picture.of(found.description),
        camera=camera,
        liveness=found.description.liveness.state,
    )


def of_verification(
    actor: str, space_id: str, subject_id: str | None, found: Verified, *, camera: str | None
) -> Decision:
    """`subject_id`: None if an image was the reference."""
    return Decision(
        event_id=new_event_id(),
        at=datetime.now(UTC),
        action="verify",
        actor=actor,
        space_id=space_id,
        decision=found.decision,
        subject=None if subject_id is None else SeenSubject(subject_id, found.display_name),
        score=found.score,
        rule=found.rule,
        calibration_id=found.calibration_id,
        comparisons=None,
        fpir=None,
        picture=Picture.of(found.probe),
        camera=camera,
        liveness=found.probe.liveness.state,
    )
