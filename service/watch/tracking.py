"""Follows faces from frame to frame and keeps the best frames of each person."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from service.watch.config import Source
from service.watch.frames import Frame, cut_out, jpeg
from service.watch.likeness import Look, look_of, may_be_one

Box = tuple[float, float, float, float]
# A face may move by its own size between two frames and grow by half, but not become another.
FARTHEST, LARGEST_RATIO = 1.2, 1.8
# As the service finds faces: it needs some of what is around one.
MARGIN = 0.9
# Two frames of one person that follow closely say the same.
LEAST_GAP_S = 0.15


@dataclass(frozen=True, slots=True)
class SeenFace:
    """A face of one frame. `quality`: 0 to 100; None if the face is too small to be compared."""

    box: Box
    score: float
    quality: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A good frame of a track, cut out, as JPEG. `worth`: what the best are chosen by."""

    at_s: float
    seen_at: datetime
    worth: float
    data: bytes = field(repr=False)


@dataclass(slots=True, eq=False)
class Track:
    """One person before one camera. `good`: frames that were good enough so far, kept or not.

    `asked`: whether it was sent early; `closed`: whether it was sent for good, or never will be.
    """

    name: str
    box: Box
    look: Look = field(repr=False)
    first_s: float
    last_s: float
    velocity: tuple[float, float] = (0.0, 0.0)
    shots: list[Shot] = field(default_factory=list)
    good: int = 0
    asked: bool = False
    closed: bool = False

    def predicted(self, at_s: float) -> Box:
        x, y, width, height = self.box
        passed = at_s - self.last_s
        return x + self.velocity[0] * passed, y + self.velocity[1] * passed, width, height

    def distance(self, box: Box, look: Look, at_s: float) -> float | None:
        """How far a face is from where this one should be; None if it cannot be this one."""
        far = _distance(self.predicted(at_s), box)
        return far if far is not None and may_be_one(self.look, look, _ratio(self.box, box)) else None

    def see(self, face: SeenFace, look: Look, at_s: float) -> None:
        """Moves on to the face of a later frame."""
        passed = at_s - self.last_s
        if passed > 0:
            (ax, ay), (bx, by) = _centre(self.box), _centre(face.box)
            new = ((bx - ax) / passed, (by - ay) / passed)
            # Smoothed, since a detector's boxes tremble.
            self.velocity = tuple(0.5 * old + 0.5 * now for old, now in zip(self.velocity, new, strict=True))  # type: ignore[assignment]
        self.box, self.look, self.last_s = face.box, look, at_s

    def keep(self, shot: Shot, most: int) -> None:
        """Adds a good frame; of more than `most`, those of least worth go."""
        self.good += 1
        if self.shots and shot.at_s - self.shots[-1].at_s < LEAST_GAP_S:
            if shot.worth > self.shots[-1].worth:
                self.shots[-1] = shot
            return
        self.shots.append(shot)
        if len(self.shots) > most:
            self.shots.remove(min(self.shots, key=lambda one: one.worth))


class Tracker:
    """The tracks of one source. Faces are assigned to the nearest track by its predicted place.

    What looks otherwise than before is somebody else, or something: a person who passes a poster in which a
    face is found shall neither take over its track nor leave their own to it.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.tracks: list[Track] = []

    def update(self, frame: Frame, faces: Sequence[SeenFace]) -> list[Track]:
        """Takes the faces of the next frame. Returns the tracks that have ended."""
        # First: whoever comes later to the same place is somebody else.
        over = self.expire(frame.at_s)
        looks = [look_of(frame.pixels, face.box) for face in faces]
        pairs = sorted(
            (
                (distance, i, j)
                for i, track in enumerate(self.tracks)
                for j, face in enumerate(faces)
                if (distance := track.distance(face.box, looks[j], frame.at_s)) is not None
            ),
        )
        taken: set[int] = set()
        followed: set[int] = set()
        for _, i, j in pairs:
            if i in followed or j in taken:
                continue
            followed.add(i)
            taken.add(j)
            self.tracks[i].see(faces[j], looks[j], frame.at_s)
            self._shoot(self.tracks[i], frame, faces[j])
        for j, face in enumerate(faces):
            if j not in taken:
                track = Track(self._name(frame, face), face.box, looks[j], frame.at_s, frame.at_s)
                self.tracks.append(track)
                self._shoot(track, frame, face)
        return over

    def expire(self, at_s: float) -> list[Track]:
        """The tracks that were not seen for too long, or later than now: a clock may go back."""
        over = [t for t in self.tracks if not 0 <= at_s - t.last_s <= self._source.lost_s]
        self.tracks = [one for one in self.tracks if one not in over]
        return over

    def rest(self, at_s: float) -> bool:
        """Takes a frame in which nothing moves, if no track waits for more of its face: who is there stays.

        Otherwise whoever stands still, and a poster for good, would have every frame looked at. Returns
        whether the frame was taken.
        """
        if not all(track.closed and 0 <= at_s - track.last_s <= self._source.lost_s for track in self.tracks):
            return False
        for track in self.tracks:
            track.last_s, track.velocity = at_s, (0.0, 0.0)
        return True

    def end(self) -> list[Track]:
        """Ends all tracks."""
        over, self.tracks = self.tracks, []
        return over

    def _shoot(self, track: Track, frame: Frame, face: SeenFace) -> None:
        if track.closed or face.quality is None or face.quality < self._source.min_quality:
            return
        # The service measures sharpness, light and pose; of two alike the larger and surer face is better.
        worth = face.quality + 10 * face.score + 5 * math.log2(max(1.0, face.box[2]))
        cut = jpeg(cut_out(frame.pixels, face.box, MARGIN))
        track.keep(Shot(frame.at_s, frame.seen_at, worth, cut), self._source.frames)

    def _name(self, frame: Frame, face: SeenFace) -> str:
        """Of a finite source the same whenever it is read, so that a track that was sent already is known."""
        if frame.place is None:
            return secrets.token_hex(16)
        box = ",".join(f"{value:.0f}" for value in face.box)
        return hashlib.sha256(f"{self._source.name}|{frame.place}|{box}".encode()).hexdigest()[:32]


def _centre(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _distance(one: Box, other: Box) -> float | None:
    """How far two boxes are apart, in sides of the larger; None if they cannot be one face."""
    (ax, ay), (bx, by) = _centre(one), _centre(other)
    side = max(one[2], one[3], other[2], other[3], 1.0)
    far = math.hypot(ax - bx, ay - by) / side
    return far if far <= FARTHEST and _ratio(one, other) <= LARGEST_RATIO else None


def _ratio(one: Box, other: Box) -> float:
    """The longer side of the larger box by that of the smaller one."""
    first, second = (max(1.0, box[2], box[3]) for box in (one, other))
    return max(first, second) / min(first, second)
