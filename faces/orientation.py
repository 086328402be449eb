"""Which way up a face is: judged from its five landmarks and its score, and from the four quarter turns.

A turn is the angle in degrees by which the picture must be turned clockwise for the face to stand upright.

The landmarks of a detector that has learned from upright faces alone look upright on a face that is
upside down as well: there the score tells, so a face is clearly upright only if both say so.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from faces.align import ALIGNMENTS
from faces.types import TURNS, Box, Face, Image, Point, Turn

# A lean of more than this from a quarter turn belongs to neither side.
MAX_LEAN_DEG = 35.0
# Misfit of the landmarks to a frontal face at which they are whole, and at which they are no face:
# upright faces have up to 0.25, profiles included.
GOOD_MISFIT, BAD_MISFIT = 0.30, 0.60
# Measured on LFW: 95 % of upright faces score at least this, 2 % of those that are upside down.
CLEAR_SCORE = 0.92
# By how much the best turn must lead the next one to be sure, and where it is clearly upright.
SURE_LEAD, CLEAR_LEAD = 0.02, 0.002
# By how much another turn must lead the given one to be taken, and what counts as no difference.
TURN_LEAD, TIE = 0.006, 0.001

_TEMPLATE = np.array([complex(x, y) for x, y in ALIGNMENTS["arcface-112"].points])
# The landmarks of each pair are named by their side of the picture: upside down they change places.
_SWAPPED = (1, 0, 2, 4, 3)


@dataclass(frozen=True, slots=True)
class Stance:
    """How five landmarks fit a frontal face: its `turn`, the `lean_deg` left over, the `misfit` 0 to 1."""

    turn: Turn
    lean_deg: float
    misfit: float


def stance(landmarks: Sequence[Point]) -> Stance:
    """Fits a frontal face to five landmarks by a similarity, in both orders of the pairs.

    `misfit` is the root of the share of the landmarks' variance that the fit leaves; 1 for landmarks
    that fall on one point.
    """
    points = np.array([complex(x, y) for x, y in landmarks])
    angle, misfit = min((_fit(points), _fit(points[list(_SWAPPED)])), key=lambda each: each[1])
    # The face leans clockwise by `angle`, so the picture must be turned back by as much.
    quarter = round(-angle / 90.0)
    lean = -angle - 90.0 * quarter
    return Stance(TURNS[quarter % 4], lean, misfit)


def _fit(points: np.ndarray[tuple[int], np.dtype[np.complex128]]) -> tuple[float, float]:
    """The clockwise angle in degrees of the fitted face, and its misfit."""
    centred, template = points - points.mean(), _TEMPLATE - _TEMPLATE.mean()
    spread = float(np.sum(np.abs(centred) ** 2))
    if spread == 0.0:
        return 0.0, 1.0
    factor = complex(np.sum(np.conj(template) * centred) / np.sum(np.abs(template) ** 2))
    left = float(np.sum(np.abs(centred - factor * template) ** 2)) / spread
    return math.degrees(cmath.phase(factor)), math.sqrt(min(1.0, left))


def judge(face: Face) -> Turn | None:
    """The turn that the landmarks show; None if they lean between two turns or fit no face."""
    found = stance(face.landmarks)
    if found.misfit >= BAD_MISFIT or abs(found.lean_deg) > MAX_LEAN_DEG:
        return None
    return found.turn


def uprightness(face: Face) -> float:
    """0 to 1: the detection score, less what the landmarks say against an upright face."""
    found = stance(face.landmarks)
    if found.turn != 0:
        return 0.0
    whole = (BAD_MISFIT - found.misfit) / (BAD_MISFIT - GOOD_MISFIT)
    return face.score * min(1.0, max(0.0, whole))


def is_clearly_upright(face: Face) -> bool:
    """Whether nothing is in doubt: no other turn needs to be tried."""
    return judge(face) == 0 and uprightness(face) >= CLEAR_SCORE


def best_turn(faces: Mapping[Turn, Face]) -> tuple[Turn, bool]:
    """The turn whose face is the most upright, and whether it is sure.

    `faces`: the meant face of the picture turned clockwise by each key; turns without a face
    are left out. Raises ValueError for none.
    """
    if not faces:
        raise ValueError("no face in any turn")
    values = {turn: uprightness(face) for turn, face in faces.items()}
    as_given = values.get(0, 0.0)
    # Photos come upright: a masked face may score a little more upside down and still be upright.
    if as_given > 0.0 and max(values.values()) - as_given < TURN_LEAD:
        return 0, all(abs(as_given - value) >= TIE for turn, value in values.items() if turn)
    ranked = sorted(((value, turn) for turn, value in values.items()), reverse=True)
    value, turn = ranked[0]
    lead = value - (ranked[1][0] if len(ranked) > 1 else 0.0)
    needed = CLEAR_LEAD if is_clearly_upright(faces[turn]) else SURE_LEAD
    return turn, value > 0.0 and lead >= needed


def turn_after(first: Turn, second: Turn) -> Turn:
    """The one turn that does what two do, one after the other."""
    return TURNS[(first + second) % 360 // 90]


def turned(image: Image, turn: Turn) -> Image:
    """The picture turned clockwise."""
    if turn == 0:
        return image
    given = image.reduced_from
    if given is not None and turn in (90, 270):
        given = given[::-1]
    return Image(np.ascontiguousarray(np.rot90(image.pixels, -turn // 90)), image.spectrum, given)


def turned_back(face: Face, turn: Turn, *, width: int, height: int) -> Face:
    """A face of the picture that was turned clockwise by `turn`, in pixels of the given picture.

    `width`, `height`: of the given picture. The landmarks keep their order: the first is still the eye
    at the left of the upright face, so that alignment turns the crop upright.
    """

    def back(x: float, y: float) -> Point:
        match turn:
            case 90:
                return y, height - x
            case 180:
                return width - x, height - y
            case 270:
                return width - y, x
            case _:
                return x, y

    box = face.box
    (ax, ay), (bx, by) = back(box.x, box.y), back(box.x + box.width, box.y + box.height)
    a, b, nose, left, right = (back(x, y) for x, y in face.landmarks)
    around = Box(min(ax, bx), min(ay, by), abs(bx - ax), abs(by - ay))
    return replace(face, box=around, landmarks=(a, b, nose, left, right), rotation=turn)
