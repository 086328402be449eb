"""Computes the lit surface of each pixel of head, hair and mask."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from faces.types import Spectrum
from training.synthesis.rendered import spectral
from training.synthesis.rendered.hair import cover as scalp_cover
from training.synthesis.rendered.light import Surface, unit
from training.synthesis.rendered.maps import FaceMaps
from training.synthesis.rendered.model import Floats, Part
from training.synthesis.rendered.spec import HairStyle, SubjectSpec, ViewSpec
from training.synthesis.rendered.tables import noise_table, remap

EYE_X, EYE_Y = 3.18, 3.61
NECKLINE_Y = -12.2
SLOPE_STEP_CM = 0.02
PUPIL = 0.012


@dataclass(frozen=True, slots=True, eq=False)
class HeadRows:
    """One row for each pixel of the head: part, neutral position, position, normal, openness."""

    part: NDArray[np.uint8]
    neutral: Floats
    points: Floats
    normals: Floats
    open: Floats

    def beside_mask(self, soft: Floats) -> HeadRows:
        """Returns the rows darkened by the contact shadow of a mask, `soft` [n] in [0, 1]."""
        return replace(self, open=(self.open * (1.0 - 0.55 * soft)).astype(np.float32))


def _bumps(rows: HeadRows, maps: FaceMaps, turn: Floats) -> Floats:
    """Returns normals tilted by the painted height, whose slope is taken along neutral x and y."""
    step = np.float32(SLOPE_STEP_CM)
    right = np.array([step, 0, 0], np.float32)
    up = np.array([0, step, 0], np.float32)
    here = rows.neutral
    dx = (maps.heights(here + right) - maps.heights(here - right)) / (2 * step)
    dy = (maps.heights(here + up) - maps.heights(here - up)) / (2 * step)
    frontal = np.clip((rows.normals @ turn)[:, 2:3], 0.0, 1.0)
    slope = dx[:, None] * turn[:, 0] + dy[:, None] * turn[:, 1]
    return unit(rows.normals - slope * frontal)


def _eyes(rows: HeadRows, subject: SubjectSpec, *, infrared: bool) -> tuple[Floats, Floats]:
    """Returns albedo [n, 3] and openness [n] of eyeball pixels: sclera, limbus, iris rays, pupil."""
    x = np.abs(rows.neutral[:, 0]) - EYE_X
    y = rows.neutral[:, 1] - EYE_Y
    radius = np.hypot(x, y)
    angle = np.arctan2(y, x * np.sign(rows.neutral[:, 0]))
    eyes = subject.eyes
    white = np.full((len(x), 3), spectral.SCLERA_NIR, np.float32)
    if not infrared:
        white = np.broadcast_to(spectral.SCLERA, white.shape).copy()
        red = np.clip((np.abs(x) - 0.75) / 0.9, 0.0, 1.0)[:, None]
        white *= 1.0 - red * np.array([0.10, 0.26, 0.26], np.float32)
    rays = noise_table(subject.seed + 21, side=128, sigma=1.0)
    ray = remap(rays, (angle * 20.37).astype(np.float32), (radius * 22).astype(np.float32), wrap=True)
    tone = spectral.iris(eyes.iris, near_infrared=infrared)
    within = radius / eyes.radius
    shade = 1.0 + 0.22 * ray[:, 0] + 0.5 * np.exp(-(((within - 0.5) / 0.12) ** 2))
    shade *= 1.0 - 0.72 * np.clip((within - 0.78) / 0.22, 0.0, 1.0)
    coloured = tone * np.clip(shade, 0.15, 2.5)[:, None]
    edge = np.clip((radius - eyes.radius) / 0.06 + 0.5, 0.0, 1.0)[:, None]
    albedo = coloured * (1.0 - edge) + white * edge
    pupil = np.clip((radius - eyes.pupil) / 0.05 + 0.5, 0.0, 1.0)[:, None]
    albedo = albedo * pupil + PUPIL * (1.0 - pupil)
    # The upper lid and its lashes shade the top of the eyeball.
    lid = np.clip((0.42 - y) / 0.42, 0.25, 1.0)
    corner = np.clip((1.75 - np.abs(x)) / 0.9, 0.35, 1.0)
    return albedo.astype(np.float32), (lid * corner).astype(np.float32)


def _neckline(neutral: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
    drop = rng.uniform(-1.5, 1.0)
    v = rng.uniform(0.0, 1.0) > 0.5
    x, y, z = neutral[:, 0], neutral[:, 1], neutral[:, 2]
    dip = np.clip(4.0 - np.abs(x), 0, None) * (0.9 if v else 0.15) * (z > 0)
    result: NDArray[np.bool_] = (y + 0.10 * (z + 3) + dip < NECKLINE_Y + drop) | (np.abs(x) > 9.3) & (
        y < -9.0
    )
    return result


def head(rows: HeadRows, subject: SubjectSpec, view: ViewSpec, maps: FaceMaps, turn: Floats) -> Surface:
    """Returns the surface of painted skin, eyes, teeth, mouth, and a plain shirt below the neckline."""
    infrared = view.spectrum is Spectrum.NIR
    count = len(rows.part)
    painted = maps.look_up(rows.neutral)
    frontal = np.clip(rows.neutral[:, 2] / 3.0, 0.0, 1.0)
    # The canvas ends below the chin.
    frontal *= np.clip((rows.neutral[:, 1] + 9.6) / 1.2, 0.0, 1.0)
    melanin = subject.skin.melanin + painted[:, 0] * frontal
    blood = 0.25 + 0.3 * subject.skin.redness + painted[:, 1] * frontal
    albedo = spectral.skin(np.clip(melanin, 0.0, 2.0), np.clip(blood, 0.0, 2.0), near_infrared=infrared)
    strands = spectral.hair(subject.hair.colour, near_infrared=infrared)
    hairy = np.clip(painted[:, 2] * frontal, 0.0, 1.0)[:, None]
    albedo = albedo * (1.0 - hairy) + spectral.brow(strands) * hairy
    if subject.hair.style in (HairStyle.BUZZ, HairStyle.BALD):
        albedo = _shadow_of_roots(albedo, rows, subject, strands)
    gloss = 0.55 + 0.5 * painted[:, 4] - 0.4 * hairy[:, 0]
    sharp = np.full(count, 16.0, np.float32)
    open_ = rows.open.copy()

    rng = np.random.default_rng(view.seed + 5)
    shirt = _neckline(rows.neutral, rng) & (rows.part == Part.SKIN)
    colour = rng.uniform(0.02, 0.7) * rng.uniform(0.5, 1.0, 3)
    tone = (float(colour[0]), float(colour[1]), float(colour[2]))
    albedo[shirt] = spectral.cloth(tone, float(rng.uniform(0.2, 0.6)), near_infrared=infrared)
    gloss[shirt] = 0.0

    eye = rows.part == Part.EYE
    if eye.any():
        picked = HeadRows(*(getattr(rows, f)[eye] for f in HeadRows.__slots__))
        albedo[eye], open_[eye] = _eyes(picked, subject, infrared=infrared)
        albedo[eye] *= np.clip(open_[eye], 0.3, 1.0)[:, None] ** 0.5
        gloss[eye], sharp[eye] = 8.0, 900.0
    for part, visible, unseen in (
        (Part.TEETH, spectral.TEETH, spectral.TEETH_NIR),
        (Part.MOUTH, spectral.MOUTH, spectral.MOUTH_NIR),
    ):
        albedo[rows.part == part] = unseen if infrared else visible
    normals = np.where(eye[:, None], rows.normals, _bumps(rows, maps, turn))
    return Surface(
        points=rows.points,
        normals=normals.astype(np.float32),
        albedo=albedo.astype(np.float32),
        gloss=gloss.astype(np.float32),
        sharpness=sharp,
        open=open_,
        soft=1.0,
    )


def _shadow_of_roots(albedo: Floats, rows: HeadRows, subject: SubjectSpec, strands: Floats) -> Floats:
    """Tints the scalp of short or missing hair with the hair's colour."""
    full = replace(subject.hair, style=HairStyle.BUZZ)
    amount = np.clip(scalp_cover(rows.neutral, full) / 1.6 + 0.2, 0.0, 1.0)
    amount *= 0.75 if subject.hair.style is HairStyle.BUZZ else 0.14
    result: Floats = albedo * (1.0 - amount[:, None]) + strands * amount[:, None]
    return result


def hair(
    strand: Floats, points: Floats, normals: Floats, subject: SubjectSpec, *, infrared: bool
) -> tuple[Surface, Floats]:
    """Returns the surface of a hair shell and its cover [n], cut into strands at the edge."""
    style = subject.hair.style
    across, along, inside, root = (strand[:, k] for k in range(4))
    stretch = {HairStyle.AFRO: 14.0, HairStyle.BUZZ: 30.0}.get(style, 2.0)
    fine = noise_table(subject.seed + 31, sigma=0.9)
    wide = noise_table(subject.seed + 32, sigma=2.5)
    a = remap(fine, across * 30.0, along * stretch, wrap=True)[:, 0]
    b = remap(wide, across * 18.0, along * stretch * 0.6, wrap=True)[:, 0]
    grain = 0.55 * a + 0.75 * b
    edge = {HairStyle.AFRO: 0.55, HairStyle.BUZZ: 0.3}.get(style, 0.3)
    # Frayed at the hairline, closed behind it.
    fray = edge * grain * np.exp(-np.maximum(inside, 0.0) / 0.5)
    cover = np.clip((inside + fray) / 0.7 + 0.3, 0.0, 1.0)
    if style is HairStyle.BUZZ:
        cover *= np.clip(0.72 + 0.25 * a, 0.3, 1.0)
    tone = spectral.hair(subject.hair.colour, near_infrared=infrared)
    depth = np.clip(1.0 + 0.34 * grain, 0.25, 2.0) * (1.0 - 0.35 * root)
    albedo = tone * depth[:, None]
    tilt = np.stack([0.28 * b, np.zeros_like(b), np.zeros_like(b)], axis=1)
    count = len(points)
    return (
        Surface(
            points=points,
            normals=unit(normals + tilt.astype(np.float32)),
            albedo=albedo.astype(np.float32),
            gloss=np.full(count, 0.35 if style is HairStyle.AFRO else 0.9, np.float32)
            * np.clip(0.8 + 0.6 * a, 0.1, 2.0),
            sharpness=np.full(count, 14.0, np.float32),
            open=np.clip(0.9 - 0.4 * root, 0.2, 1.0).astype(np.float32),
            soft=0.3,
        ),
        cover.astype(np.float32),
    )


def mask(
    painted: Floats, where: Floats, points: Floats, normals: Floats, turn: Floats, view: ViewSpec
) -> Surface:
    """Returns the surface of the mask's cloth, with weave, pleats and seams.

    Raises ValueError without a mask.
    """
    worn = view.mask
    if worn is None:
        raise ValueError("this view has no mask")
    infrared = view.spectrum is Spectrum.NIR
    angle = np.radians(where[:, 0])
    zero = np.zeros_like(angle)
    along = np.stack([np.cos(angle), zero, -np.sin(angle)], axis=1) @ turn.T
    up = turn[:, 1]
    slope = painted[:, 2:3] * along + painted[:, 3:4] * up
    base = spectral.cloth(worn.colour, worn.reflectance, near_infrared=infrared)
    weave = noise_table(view.seed % 1000 + 41, side=256, sigma=0.9)
    grain = remap(weave, where[:, 0] * 9.0, where[:, 1] * 60.0, wrap=True)[:, 0]
    count = len(points)
    return Surface(
        points=points,
        normals=unit(unit(normals) - slope.astype(np.float32)),
        albedo=(base * (1.0 + 0.03 * grain[:, None])).astype(np.float32),
        gloss=np.full(count, 0.2, np.float32),
        sharpness=np.full(count, 8.0, np.float32),
        open=np.clip(1.0 - 3.0 * np.clip(-painted[:, 1], 0.0, 0.15), 0.4, 1.0).astype(np.float32),
        soft=0.4,
    )
