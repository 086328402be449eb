"""Wire types of a face with its condition and quality."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from faces.masks import MaskState
from faces.types import Face, Spectrum
from service.api.schemas.base import Wire
from service.inference.engine import Description
from service.inference.quality import Quality


class FaceOut(Wire):
    """Box [x, y, w, h] and five landmarks in pixels of the image as its EXIF turns it.

    `rotation`: degrees by which that image must be turned clockwise for the face to be upright.
    `subject_probability`: how likely a photo is about a face of this score, if the detector's score is
    calibrated; of several faces the one of the largest area times probability is meant.
    """

    box: tuple[float, float, float, float]
    landmarks: list[tuple[float, float]]
    detection_score: float
    rotation: Literal[0, 90, 180, 270] = 0
    subject_probability: float | None = None

    @classmethod
    def of(cls, face: Face) -> FaceOut:
        box = face.box
        return cls(
            box=(round(box.x, 2), round(box.y, 2), round(box.width, 2), round(box.height, 2)),
            landmarks=[(round(x, 2), round(y, 2)) for x, y in face.landmarks],
            detection_score=round(face.score, 4),
            rotation=face.rotation,
            subject_probability=None if face.probability is None else round(face.probability, 4),
        )


class PoseOut(Wire):
    """Rough angles in degrees."""

    yaw: float
    roll: float


class QualityOut(Wire):
    """0 to 100 with what keeps it down; measured where a mask does not reach."""

    score: Annotated[int, Field(ge=0, le=100)]
    reasons: list[str]
    inter_eye_px: float
    sharpness: float
    exposure: float
    pose: PoseOut

    @classmethod
    def of(cls, quality: Quality) -> QualityOut:
        return cls(
            score=quality.score,
            reasons=list(quality.reasons),
            inter_eye_px=round(quality.inter_eye_px, 2),
            sharpness=round(quality.sharpness, 4),
            exposure=round(quality.exposure, 4),
            pose=PoseOut(yaw=round(quality.pose.yaw, 1), roll=round(quality.pose.roll, 1)),
        )


class ConditionOut(Wire):
    """What the probe was seen through.

    `masked` is the likelier of the two, also where `mask_state` is uncertain: thresholds are then the
    stricter of both.
    """

    spectrum: Spectrum
    masked: bool
    mask_state: MaskState
    mask_probability: float


class SightingOut(Wire):
    """A face with its condition and quality."""

    face: FaceOut
    condition: ConditionOut
    quality: QualityOut


def sighting(described: Description) -> dict[str, Any]:
    """Returns the fields that every answer about a face has."""
    return {
        "face": FaceOut.of(described.face),
        "condition": ConditionOut(
            spectrum=described.crop.spectrum,
            masked=described.mask.masked,
            mask_state=described.mask.state,
            mask_probability=round(described.mask.probability, 4),
        ),
        "quality": QualityOut.of(described.quality),
    }
