"""Defines a subject and a view of it: everything that is rendered. Frozen and hashable."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from faces.types import Spectrum

Colour = tuple[float, float, float]


class HairStyle(StrEnum):
    BALD = "bald"
    BUZZ = "buzz"
    SHORT = "short"
    FRINGE = "fringe"
    AFRO = "afro"
    LONG = "long"


class MaskShape(StrEnum):
    WIDE = "wide"
    ROUND = "round"


class NoseCoverage(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Skin:
    """The skin. `melanin` and `redness` in [0, 1] drive the albedo of both spectra; `freckles`, `age` and
    `stubble` in [0, 1]; `lips` is the extra redness of the lips."""

    melanin: float
    redness: float
    freckles: float
    moles: int
    age: float
    stubble: float
    lips: float


@dataclass(frozen=True, slots=True)
class Brows:
    """The brows, in centimetres. `arch` lifts the middle, `tilt` the outer end, `gap` moves the inner
    ends apart; `density` in [0, 1]."""

    thickness: float
    arch: float
    tilt: float
    gap: float
    lift: float
    density: float


@dataclass(frozen=True, slots=True)
class Eyes:
    """The eyes. `iris`: linear red, green, blue; `radius` and `pupil` in centimetres; `lashes` in [0, 1]."""

    iris: Colour
    radius: float
    pupil: float
    lashes: float


@dataclass(frozen=True, slots=True)
class Hair:
    """The hair. `colour`: linear red, green, blue; `volume`, `hairline` (higher is further up), `recession`
    and `length` (below the chin) in centimetres."""

    style: HairStyle
    colour: Colour
    volume: float
    hairline: float
    recession: float
    length: float
    parting: float


@dataclass(frozen=True, slots=True)
class SubjectSpec:
    """Everything that all views of a subject share. `identity`: the model's 100 coefficients."""

    subject_id: str
    seed: int
    identity: tuple[float, ...]
    skin: Skin
    brows: Brows
    eyes: Eyes
    hair: Hair


@dataclass(frozen=True, slots=True)
class RenderedMask:
    """A face mask. `reflectance` holds at 850 nm and, tinted by `colour`, in visible light."""

    shape: MaskShape
    coverage: NoseCoverage
    reflectance: float
    colour: Colour
    pleats: int
    drop: float


@dataclass(frozen=True, slots=True)
class Light:
    """The light, with directions in degrees from the camera's axis, to the picture's right and upwards."""

    azimuth: float
    elevation: float
    key: float
    fill: float
    ambient: float
    tint: Colour


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """One picture. Angles in degrees, `distance` in centimetres, `span` is the width in
    centimetres that the picture shows at the face; `seed` drives background and sensor noise."""

    spectrum: Spectrum
    seed: int
    yaw: float
    pitch: float
    roll: float
    distance: float
    span: float
    shift: tuple[float, float]
    expression: tuple[tuple[str, float], ...]
    gaze: tuple[float, float]
    light: Light
    mask: RenderedMask | None = None
    size_px: int = 320
    noise: float = 0.012
    blur_px: float = 0.6
