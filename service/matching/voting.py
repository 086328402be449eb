"""Decides whose face a track shows: by the votes of its frames, and never by one frame alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from service.errors import ServiceError
from service.inference.liveness_reading import Liveness
from service.matching.comparison import Candidate, Identified

Verdict = Literal["match", "unknown", "undecided"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a track: what was found of its largest face, or why nothing could be."""

    index: int
    found: Identified | None
    refusal: ServiceError | None = None

    def __post_init__(self) -> None:
        if (self.found is None) == (self.refusal is None):
            raise ValueError("a frame has an identification or a refusal")

    @property
    def best(self) -> Candidate | None:
        """Whom the frame votes for: its best candidate, if that is at or above its threshold."""
        first = None if self.found is None else next(iter(self.found.candidates), None)
        return first if first is not None and first.accepted else None

    @property
    def usable(self) -> bool:
        """Whether the frame may vote. A face whose pair of conditions has no threshold may not."""
        return self.found is not None and self.found.decision != "uncalibrated"


@dataclass(frozen=True, slots=True)
class Votes:
    """`agree`: usable frames that have the matched subject as best candidate, or, without a match, nobody;
    `of`: usable frames; `needed`: how many have to agree."""

    agree: int
    of: int
    needed: int


@dataclass(frozen=True, slots=True, eq=False)
class TrackVerdict:
    """`shown`: the frame that stands for the track, None if no frame has a face. `winner`: its candidate."""

    frames: tuple[Frame, ...]
    decision: Verdict
    votes: Votes
    shown: Frame | None
    winner: Candidate | None

    @property
    def liveness(self) -> Liveness:
        """That of every frame that votes for the subject, or of the shown one; none where they differ."""
        shown = () if self.shown is None else (self.shown,)
        agreeing = tuple(frame for frame in self.frames if self.agrees(frame)) or shown
        states = {one.found.description.liveness.state for one in agreeing if one.found is not None}
        return states.pop() if len(states) == 1 else "none"

    def agrees(self, frame: Frame) -> bool:
        """Whether a frame voted for the matched subject."""
        return self.winner is not None and _names(frame, self.winner.subject_id)


def vote(frames: Sequence[Frame], needed: int) -> TrackVerdict:
    """A subject matches that at least `needed` usable frames have as best candidate, and no other as often.

    Nobody does, if at least `needed` usable frames have nobody and no subject has so many. All else is
    undecided: too few frames are usable, or their votes are split.
    """
    if needed < 1:
        raise ValueError("at least one frame has to agree")
    usable = [frame for frame in frames if frame.usable]
    counted = Counter(frame.best.subject_id for frame in usable if frame.best is not None).most_common(2)
    nobody = sum(frame.best is None for frame in usable)
    most = counted[0][1] if counted else 0
    tied = len(counted) > 1 and counted[1][1] == most
    if most >= needed and not tied:
        agreeing = [frame for frame in usable if _names(frame, counted[0][0])]
        shown = max(agreeing, key=_margin)
        votes = Votes(most, len(usable), needed)
        return TrackVerdict(tuple(frames), "match", votes, shown, shown.best)
    unknown = most < needed <= nobody
    described = usable or [frame for frame in frames if frame.found is not None]
    return TrackVerdict(
        tuple(frames),
        "unknown" if unknown else "undecided",
        Votes(nobody if unknown else max(most, nobody), len(usable), needed),
        max(described, key=_quality, default=None),
        None,
    )


def _names(frame: Frame, subject_id: str) -> bool:
    return frame.usable and frame.best is not None and frame.best.subject_id == subject_id


def _margin(frame: Frame) -> float:
    return -1.0 if frame.best is None or frame.best.margin is None else frame.best.margin


def _quality(frame: Frame) -> int:
    return -1 if frame.found is None else frame.found.description.quality.score
