"""Scores the quality of a face from 0 to 100, with reasons, in the region that a mask leaves free.

Measures sharpness and exposure in the eye region of the aligned crop, and pose from the eyes and the
nose, so that a mask does not lower the score (ISO/IEC 29794-5 measures whole faces).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import AlignedCrop, Face

# Rows and columns of the eye region, as fractions of a crop on the ArcFace template.
EYES_TOP, EYES_BOTTOM, EYES_LEFT, EYES_RIGHT = 0.30, 0.60, 0.18, 0.82
EYES_PX = (96, 48)
DARK, BRIGHT = 12, 243
# Nose offset from the midpoint of the eyes, in inter-eye distances, at which the far eye nearly hides.
NOSE_REACH = 0.62
# A component scores 1 at its GOOD value and 0 at its BAD value.
GOOD_INTER_EYE_PX, BAD_INTER_EYE_PX = 40.0, 8.0
GOOD_SHARPNESS, BAD_SHARPNESS = 0.020, 0.006
GOOD_CONTRAST, BAD_CONTRAST = 22.0, 3.0
GOOD_TURN_DEG, BAD_TURN_DEG = 25.0, 75.0
GOOD_DETECTION, BAD_DETECTION = 0.75, 0.4
REASON_BELOW = 0.6
# A badly exposed eye region is too bright or too dark if more of it is clipped on that side than on the
# other, or else by its mean level; between these it is only flat.
DARK_MEAN, BRIGHT_MEAN = 85.0, 170.0
# The face from brow to chin, as fractions of the crop; overexposed if this share of it has lost its lights.
FACE_TOP, FACE_BOTTOM, BURNT, OVEREXPOSED_SHARE = 0.27, 0.96, 250, 0.5


@dataclass(frozen=True, slots=True)
class Pose:
    """Rough angles in degrees: `roll` in the image plane, `yaw` to the side."""

    yaw: float
    roll: float


@dataclass(frozen=True, slots=True)
class Quality:
    """`score` 0 to 100; `sharpness` and `exposure` 0 to 1; `reasons` name the components that lower it,
    and for `badly_exposed` also `too_bright` or `too_dark`."""

    score: int
    reasons: tuple[str, ...]
    inter_eye_px: float
    sharpness: float
    exposure: float
    pose: Pose


def _ramp(value: float, *, bad: float, good: float) -> float:
    """Interpolates linearly from 0 at `bad` to 1 at `good`; `bad` may be larger than `good`."""
    return min(1.0, max(0.0, (value - bad) / (good - bad)))


def pose_of(face: Face) -> Pose:
    """Computes roll from the line between the eyes, and yaw from the nose's offset from its midpoint."""
    (ax, ay), (bx, by), (nx, ny) = face.landmarks[:3]
    dx, dy = bx - ax, by - ay
    span = math.hypot(dx, dy)
    if span == 0.0:
        return Pose(90.0, 0.0)
    along = ((nx - (ax + bx) / 2) * dx + (ny - (ay + by) / 2) * dy) / span**2
    yaw = math.degrees(math.asin(max(-1.0, min(1.0, along / NOSE_REACH))))
    return Pose(yaw, math.degrees(math.atan2(dy, dx)))


def is_overexposed(crop: AlignedCrop) -> bool:
    """Whether so much of the face is burnt out that skin looks like a white mask."""
    side = crop.pixels.shape[0]
    rows = slice(round(FACE_TOP * side), round(FACE_BOTTOM * side))
    columns = slice(round(EYES_LEFT * side), round(EYES_RIGHT * side))
    return bool(np.mean(crop.pixels[rows, columns].min(axis=2) >= BURNT) > OVEREXPOSED_SHARE)


def _exposure_fault(grey: NDArray[np.uint8]) -> tuple[str, ...]:
    """Which way a badly exposed eye region is wrong: a reason, or none for one that is only flat."""
    dark, bright, mean = (float(np.mean(v)) for v in (grey <= DARK, grey >= BRIGHT, grey))
    if bright > dark or (bright == dark and mean >= BRIGHT_MEAN):
        return ("too_bright",)
    return ("too_dark",) if dark > bright or mean <= DARK_MEAN else ()


def assess(face: Face, crop: AlignedCrop) -> Quality:
    """Scores one face. Reads no pixel below the eye region."""
    side = crop.pixels.shape[0]
    rows = slice(round(EYES_TOP * side), round(EYES_BOTTOM * side))
    columns = slice(round(EYES_LEFT * side), round(EYES_RIGHT * side))
    # One size for every alignment, so that one sharpness scale fits all.
    eyes = cv2.resize(crop.pixels[rows, columns], EYES_PX, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(eyes, cv2.COLOR_BGR2GRAY)
    contrast = float(grey.std())
    clipped = float(np.mean((grey <= DARK) | (grey >= BRIGHT)))
    edges = float(cv2.Laplacian(grey, cv2.CV_32F).std())
    # Relative to contrast, so that dim light does not make a sharp face look blurred.
    raw_sharpness = edges / (contrast + 8.0) / 8.0
    sharpness = _ramp(raw_sharpness, bad=BAD_SHARPNESS, good=GOOD_SHARPNESS)
    exposure = (1.0 - clipped) * _ramp(contrast, bad=BAD_CONTRAST, good=GOOD_CONTRAST)
    pose = pose_of(face)
    frontal = _ramp(max(abs(pose.yaw), abs(pose.roll) / 2), bad=BAD_TURN_DEG, good=GOOD_TURN_DEG)
    size = _ramp(face.inter_eye_px, bad=BAD_INTER_EYE_PX, good=GOOD_INTER_EYE_PX)
    detection = _ramp(face.score, bad=BAD_DETECTION, good=GOOD_DETECTION)
    components = {
        "face_too_small": size,
        "blurred": sharpness,
        "badly_exposed": exposure,
        "turned_away": frontal,
        "uncertain_face": detection,
    }
    # The geometric mean: one component near 0 brings the score near 0.
    score = math.prod(components.values()) ** (1 / len(components))
    reasons = [name for name, value in components.items() if value < REASON_BELOW]
    if exposure < REASON_BELOW:
        reasons += _exposure_fault(np.asarray(grey, np.uint8))
    return Quality(
        score=round(100 * score),
        reasons=tuple(reasons),
        inter_eye_px=face.inter_eye_px,
        sharpness=sharpness,
        exposure=exposure,
        pose=pose,
    )
