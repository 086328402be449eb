"""Defines the frozen types from bytes to a comparison score.

Each type checks itself when it is made; no other code repeats the check.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
Vector: TypeAlias = NDArray[np.float32]
Point: TypeAlias = tuple[float, float]
# Degrees by which a picture must be turned clockwise for a face in it to stand upright.
Turn: TypeAlias = Literal[0, 90, 180, 270]
TURNS: tuple[Turn, ...] = (0, 90, 180, 270)

UNIT_NORM_TOLERANCE = 1e-3


# Its docstring is the description of the schema `Spectrum` in the OpenAPI document.
class Spectrum(StrEnum):
    """The light a sample was taken in."""

    VIS = "vis"
    NIR = "nir"


class Role(StrEnum):
    """The side of a comparison that a template is for; a two-encoder bundle treats them differently."""

    PROBE = "probe"
    REFERENCE = "reference"


class SpaceMismatch(ValueError):
    """Embeddings of different spaces were compared, whose score has no meaning."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """An upright picture. `pixels`: uint8 [height, width, 3], blue-green-red, read-only.

    A grey (near-infrared) source has three equal channels. `reduced_from`: the (width, height) of the
    given picture if `pixels` holds it at 1/2, 1/4, ... of its size; boxes and landmarks of its faces are
    in pixels of the given picture all the same.
    Raises ValueError for another shape or dtype.
    """

    pixels: Pixels
    spectrum: Spectrum
    reduced_from: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        p = self.pixels
        if p.dtype != np.uint8 or p.ndim != 3 or p.shape[2] != 3 or 0 in p.shape:
            raise ValueError(f"an image is uint8 [h, w, 3] and not empty, got {p.dtype} {p.shape}")
        if self.reduced_from is not None and min(self.reduced_from) < 1:
            raise ValueError(f"an image has at least one pixel, got {self.reduced_from}")
        p.flags.writeable = False

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0]) if self.reduced_from is None else self.reduced_from[1]

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1]) if self.reduced_from is None else self.reduced_from[0]

    @property
    def reduction(self) -> int:
        """Pixels of the given picture for each pixel held, on a side: a power of two."""
        return 1 if self.reduced_from is None else round(max(self.reduced_from) / max(self.pixels.shape[:2]))


@dataclass(frozen=True, slots=True)
class Box:
    """A box: left, top, width and height in pixels of the upright image; it may exceed the border."""

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in (self.x, self.y, self.width, self.height)):
            raise ValueError("a face box must be finite")
        if self.width <= 0 or self.height <= 0:
            raise ValueError("a face box must have a positive width and height")

    @property
    def area(self) -> float:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face of one image.

    `landmarks`: eye, eye, nose tip, mouth corner, mouth corner; of each pair the one at the
    left of the upright face first. Pixels of the upright image. `score` in [0, 1]. `masked`: the
    probability of a mask, if the detector classifies masks. `rotation`: the turn of the picture
    that makes this face upright. `probability`: how likely a photo is about a face of this score, if the
    detector's score is calibrated.
    """

    box: Box
    landmarks: tuple[Point, Point, Point, Point, Point]
    score: float
    masked: float | None = None
    rotation: Turn = 0
    probability: float | None = None

    def __post_init__(self) -> None:
        if len(self.landmarks) != 5:
            raise ValueError(f"a face has five landmarks, got {len(self.landmarks)}")
        if not all(math.isfinite(v) for point in self.landmarks for v in point):
            raise ValueError("landmarks must be finite")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a detection score lies in [0, 1], got {self.score}")
        if self.masked is not None and not 0.0 <= self.masked <= 1.0:
            raise ValueError(f"the probability of a mask lies in [0, 1], got {self.masked}")
        if self.probability is not None and not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"the probability of a subject's face lies in [0, 1], got {self.probability}")

    @property
    def weight(self) -> float:
        """By which of several faces the meant one is chosen: area times probability.

        Without a calibration the score stands for the probability.
        """
        return self.box.area * (self.score if self.probability is None else self.probability)

    @property
    def inter_eye_px(self) -> float:
        (ax, ay), (bx, by) = self.landmarks[0], self.landmarks[1]
        return math.hypot(bx - ax, by - ay)


@dataclass(frozen=True, slots=True, eq=False)
class AlignedCrop:
    """A face warped onto a five-point template. `pixels`: uint8 [side, side, 3], BGR, read-only.

    `alignment_id` names the template, `inter_eye_px` is measured in the source image.
    Made by `faces.align.align` only.
    """

    pixels: Pixels
    alignment_id: str
    inter_eye_px: float
    spectrum: Spectrum

    def __post_init__(self) -> None:
        p = self.pixels
        if p.dtype != np.uint8 or p.ndim != 3 or p.shape[2] != 3 or p.shape[0] != p.shape[1]:
            raise ValueError(f"an aligned crop is uint8 [n, n, 3], got {p.dtype} {p.shape}")
        p.flags.writeable = False


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A unit vector in one embedding space. `vector`: float32 [dimension], read-only.

    Raises ValueError unless the vector is finite and of unit norm.
    """

    vector: Vector
    space_id: str
    role: Role

    def __post_init__(self) -> None:
        v = self.vector
        if v.dtype != np.float32 or v.ndim != 1:
            raise ValueError(f"an embedding is float32 [dimension], got {v.dtype} {v.shape}")
        norm = float(np.linalg.norm(v))
        if not math.isfinite(norm) or abs(norm - 1.0) > UNIT_NORM_TOLERANCE:
            raise ValueError("an embedding must be finite and of unit norm")
        v.flags.writeable = False

    def score(self, other: Embedding) -> float:
        """Returns the cosine similarity in [-1, 1].

        Raises SpaceMismatch for embeddings of different spaces.
        """
        if self.space_id != other.space_id:
            raise SpaceMismatch(f"{self.space_id} against {other.space_id}")
        return float(np.clip(np.dot(self.vector, other.vector), -1.0, 1.0))


@dataclass(frozen=True, slots=True, order=True)
class Condition:
    """Spectrum and mask state of one side of a comparison."""

    spectrum: Spectrum
    masked: bool

    def __str__(self) -> str:
        return f"{self.spectrum.value}-{'masked' if self.masked else 'unmasked'}"


# Every condition, visible and unmasked first.
CONDITIONS = tuple(Condition(spectrum, masked) for spectrum in Spectrum for masked in (False, True))


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """The conditions of both sides of a comparison: scores of different pairs spread differently."""

    reference: Condition
    probe: Condition

    def __str__(self) -> str:
        return f"{self.reference}/{self.probe}"

    @classmethod
    def with_clear_reference(cls, probe: Condition) -> Pair:
        """A probe against an unmasked visible reference: how most galleries are enrolled."""
        return cls(CONDITIONS[0], probe)


PAIRS = tuple(Pair(reference, probe) for reference in CONDITIONS for probe in CONDITIONS)
