"""Draws subjects and views from a random generator."""

from __future__ import annotations

import numpy as np

from faces.types import Spectrum
from training.synthesis.rendered.spec import (
    Brows,
    Colour,
    Eyes,
    Hair,
    HairStyle,
    Light,
    MaskShape,
    NoseCoverage,
    RenderedMask,
    Skin,
    SubjectSpec,
    ViewSpec,
)

IDENTITY_COEFFICIENTS = 100
IDENTITY_SPREAD = 1.2
IDENTITY_LIMIT = 2.2
# The real root of x^6 = x + 1; its powers give a sequence that fills five dimensions evenly.
R5 = 1.1347241384015194

IRISES: tuple[Colour, ...] = (
    (0.050, 0.026, 0.012),
    (0.095, 0.048, 0.020),
    (0.130, 0.085, 0.035),
    (0.110, 0.120, 0.060),
    (0.085, 0.140, 0.190),
    (0.150, 0.180, 0.190),
)
HAIRS: tuple[Colour, ...] = (
    (0.010, 0.009, 0.009),
    (0.022, 0.014, 0.010),
    (0.055, 0.030, 0.017),
    (0.130, 0.070, 0.032),
    (0.330, 0.220, 0.105),
    (0.200, 0.070, 0.022),
    (0.300, 0.290, 0.280),
)
STYLES = (
    HairStyle.SHORT,
    HairStyle.LONG,
    HairStyle.FRINGE,
    HairStyle.BUZZ,
    HairStyle.AFRO,
    HairStyle.SHORT,
    HairStyle.LONG,
    HairStyle.BALD,
)
MASK_COLOURS: tuple[Colour, ...] = (
    (0.55, 0.75, 0.95),
    (0.95, 0.95, 0.95),
    (0.10, 0.10, 0.11),
    (0.60, 0.85, 0.75),
)
MILD = (
    ("mouthSmile_L", "mouthSmile_R"),
    ("browInnerUp_L", "browInnerUp_R"),
    ("browDown_L", "browDown_R"),
    ("eyeSquint_L", "eyeSquint_R"),
    ("mouthFrown_L", "mouthFrown_R"),
    ("mouthPress_L", "mouthPress_R"),
)


def draw_identity(rng: np.random.Generator) -> tuple[float, ...]:
    """Draws the model's 100 coefficients, N(0, 1.2) each, clipped to where faces look human."""
    values = rng.normal(0.0, IDENTITY_SPREAD, IDENTITY_COEFFICIENTS)
    values = np.clip(values, -IDENTITY_LIMIT, IDENTITY_LIMIT)
    return tuple(float(value) for value in values.astype(np.float32))


def _spread(turn: int, axis: int, low: float, high: float) -> float:
    """Returns point `turn` of the R5 low-discrepancy sequence on one axis, scaled to [low, high]."""
    return low + (high - low) * ((0.5 + turn * R5 ** -(axis + 1)) % 1.0)


def draw_subject(
    rng: np.random.Generator,
    subject_id: str,
    *,
    turn: int,
    identity: tuple[float, ...] | None = None,
) -> SubjectSpec:
    """Draws a subject. `turn` is its number, which spreads skin tones, brows and hair styles evenly.

    `identity` is drawn if it is not given.
    """
    coefficients = draw_identity(rng) if identity is None else identity
    melanin = float(np.clip((turn * 0.618 + 0.07) % 1.0 + rng.normal(0, 0.04), 0.0, 1.0))
    age = float(rng.uniform(0.05, 0.9))
    style = STYLES[turn % len(STYLES)]
    dark = melanin > 0.45
    iris = IRISES[int(rng.integers(0, 2 if dark else len(IRISES)))]
    tones = 2 if dark else len(HAIRS) - (0 if age > 0.6 else 1)
    colour = HAIRS[int(rng.integers(0, tones))]
    return SubjectSpec(
        subject_id=subject_id,
        seed=int(rng.integers(1, 2**31)),
        identity=coefficients,
        skin=Skin(
            melanin=melanin,
            redness=float(rng.uniform(0.15, 0.9)),
            freckles=float(rng.uniform(0.2, 1.0)) if not dark and rng.random() < 0.45 else 0.0,
            moles=int(rng.integers(0, 5)),
            age=age,
            stubble=float(rng.uniform(0.2, 0.9))
            if style is not HairStyle.LONG and rng.random() < 0.55
            else 0.0,
            lips=float(rng.uniform(0.4, 1.0)),
        ),
        brows=Brows(
            thickness=_spread(turn, 0, 0.45, 1.45),
            arch=_spread(turn, 1, -0.15, 0.45),
            tilt=_spread(turn, 2, -0.45, 0.40),
            gap=_spread(turn, 3, -0.55, 0.50),
            lift=_spread(turn, 4, -0.40, 0.25),
            density=float(rng.uniform(0.45, 1.0)),
        ),
        eyes=Eyes(
            iris=iris,
            radius=float(rng.uniform(0.60, 0.68)),
            pupil=float(rng.uniform(0.20, 0.28)),
            lashes=float(rng.uniform(0.3, 1.0)),
        ),
        hair=Hair(
            style=style,
            colour=colour,
            volume=float(rng.uniform(0.7, 1.5)),
            hairline=float(rng.uniform(-0.8, 0.8)),
            recession=float(rng.uniform(0.0, 1.6) * age),
            length=float(rng.uniform(1.0, 8.0)),
            parting=float(rng.uniform(-3.0, 3.0)),
        ),
    )


def _expression(rng: np.random.Generator) -> tuple[tuple[str, float], ...]:
    chosen: list[tuple[str, float]] = []
    for index in rng.choice(len(MILD), size=2, replace=False):
        weight = float(rng.uniform(0.0, 0.35))
        chosen.extend((name, weight * float(rng.uniform(0.8, 1.0))) for name in MILD[int(index)])
    blink = float(rng.uniform(0.0, 0.12))
    return (*chosen, ("eyeBlink_L", blink), ("eyeBlink_R", blink))


def draw_mask(rng: np.random.Generator) -> RenderedMask:
    """Draws a mask; its reflectance is 75 % U(.6, .95), because polypropylene is bright, 25 % U(.1, .35)."""
    bright = rng.random() < 0.75
    return RenderedMask(
        shape=list(MaskShape)[int(rng.integers(0, 2))],
        coverage=list(NoseCoverage)[int(rng.integers(0, 3))],
        reflectance=float(rng.uniform(0.6, 0.95) if bright else rng.uniform(0.1, 0.35)),
        colour=MASK_COLOURS[int(rng.integers(0, len(MASK_COLOURS)))],
        pleats=int(rng.integers(2, 5)),
        drop=float(rng.uniform(0.3, 1.0)),
    )


def draw_view(
    rng: np.random.Generator,
    spectrum: Spectrum,
    *,
    mask: RenderedMask | None = None,
    size_px: int = 320,
) -> ViewSpec:
    """Draws a mild pose and expression under room light (visible) or a frontal 850 nm lamp."""
    near_infrared = spectrum is Spectrum.NIR
    side = 1.0 if rng.random() < 0.5 else -1.0
    if near_infrared:
        light = Light(
            azimuth=side * float(rng.uniform(1.0, 5.0)),
            elevation=float(rng.uniform(-3.0, 6.0)),
            key=1.0,
            fill=0.0,
            ambient=float(rng.uniform(0.03, 0.08)),
            tint=(1.0, 1.0, 1.0),
        )
    else:
        warm = float(rng.uniform(-0.06, 0.06))
        light = Light(
            azimuth=side * float(rng.uniform(8.0, 38.0)),
            elevation=float(rng.uniform(15.0, 40.0)),
            key=float(rng.uniform(0.7, 0.95)),
            fill=float(rng.uniform(0.3, 0.5)),
            ambient=float(rng.uniform(0.3, 0.5)),
            tint=(1.0 + warm, 1.0, 1.0 - warm),
        )
    return ViewSpec(
        spectrum=spectrum,
        seed=int(rng.integers(1, 2**31)),
        yaw=float(np.clip(rng.normal(0.0, 5.0 if near_infrared else 4.5), -12.0, 12.0)),
        pitch=float(np.clip(rng.normal(0.0, 4.0), -12.0, 12.0)),
        roll=float(np.clip(rng.normal(0.0, 3.0), -12.0, 12.0)),
        distance=float(rng.uniform(45.0, 75.0) if near_infrared else rng.uniform(55.0, 110.0)),
        span=float(rng.uniform(22.5, 26.5)),
        shift=(float(rng.uniform(-0.8, 0.8)), float(rng.uniform(-0.6, 0.6))),
        expression=_expression(rng),
        gaze=(float(rng.normal(0.0, 4.0)), float(rng.normal(0.0, 2.5))),
        light=light,
        mask=mask,
        size_px=size_px,
        noise=float(rng.uniform(0.008, 0.016) if near_infrared else rng.uniform(0.005, 0.012)),
        blur_px=float(rng.uniform(0.5, 0.8) if near_infrared else rng.uniform(0.35, 0.6)),
    )
