"""Paints a subject's face on a frontal canvas: brows, lips, lashes, freckles, stubble, lines.

The canvas is the plane of the neutral model seen from the front, and pixels look it up by their neutral
position. So a painted brow follows the brow of every identity and expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from training.synthesis.rendered.canvas import LEFT, SCALE, TOP, Canvas, curve
from training.synthesis.rendered.model import FaceModel, Floats
from training.synthesis.rendered.spec import SubjectSpec
from training.synthesis.rendered.tables import remap

OUTER_LIP = slice(48, 60)
UPPER_LIDS = ((36, 37, 38, 39), (42, 43, 44, 45))
LOWER_LIDS = ((39, 40, 41, 36), (45, 46, 47, 42))


@dataclass(frozen=True, slots=True, eq=False)
class FaceMaps:
    """`channels` float32 [h, w, 5]: melanin, blood (both added to the skin's), hair cover in
    [0, 1], height in centimetres, gloss factor. `height` float32 [h, w, 1]: the fourth by itself."""

    channels: Floats
    height: Floats

    def look_up(self, neutral: Floats) -> Floats:
        """Returns the values [n, 5] at neutral positions [n, 3]."""
        return remap(self.channels, *_places(neutral))

    def heights(self, neutral: Floats) -> Floats:
        """Returns the heights [n] at neutral positions [n, 3]."""
        return remap(self.height, *_places(neutral))[:, 0]


def _places(neutral: Floats) -> tuple[Floats, Floats]:
    """Returns the pixels x and y [n] of a map at neutral positions [n, 3]."""
    return (neutral[:, 0] - LEFT) * SCALE - 0.5, (TOP - neutral[:, 1]) * SCALE - 0.5


def _brows(hair: Canvas, subject: SubjectSpec, rng: np.random.Generator, marks: Floats) -> None:
    brows = subject.brows
    ridge = curve(marks[22:27], 64)
    count = int(120 + 330 * brows.density * brows.thickness)
    for side in (1.0, -1.0):
        t = rng.uniform(0.0, 1.0, count)
        middle = np.stack([np.interp(t, np.linspace(0, 1, 64), ridge[:, k]) for k in range(2)], 1)
        # Full width at the inner end, thin at the outer end.
        taper = np.clip(1.15 - 0.95 * t, 0.12, 1.0) * np.clip(t * 6 + 0.55, 0, 1)
        middle[:, 0] += brows.gap * (1.0 - t) * 0.6
        middle[:, 1] += -0.42 + brows.lift + brows.arch * np.sin(np.pi * t**1.3)
        middle[:, 1] += brows.tilt * (t - 0.4)
        across = rng.normal(0.0, 0.27, count) * brows.thickness * taper
        start = middle + np.stack([np.zeros(count), across], axis=1)
        angle = np.radians(60 - 72 * t + rng.normal(0.0, 12.0, count)) - across * 1.1
        length = rng.uniform(0.22, 0.5, count) * (0.7 + 0.3 * brows.thickness)
        end = start + length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        flip = np.array([side, 1.0])
        shades = rng.uniform(0.45, 1.0, count) * np.exp(-0.5 * (across / brows.thickness / 0.5) ** 2)
        order = np.argsort(shades)
        hair.strokes((start * flip)[order], (end * flip)[order], 2, shades[order])
    # The blur joins hairs that are finer than a pixel of the picture.
    fine = cv2.GaussianBlur(hair.values, (0, 0), 0.9)
    soft = cv2.GaussianBlur(hair.values, (0, 0), 5.5)
    joined = 0.75 * fine * np.clip(0.3 + 1.6 * soft, 0.0, 1.0) + 0.55 * soft
    hair.values = np.clip(joined, 0.0, 0.95) * (0.65 + 0.35 * brows.density)


def _lashes(
    hair: Canvas, melanin: Canvas, subject: SubjectSpec, rng: np.random.Generator, marks: Floats
) -> None:
    strength = subject.eyes.lashes
    for lid in UPPER_LIDS:
        rim = curve(marks[list(lid)], 48)
        hair.line(rim, 0.55 + 0.45 * strength, 0.11)
        at = rng.integers(4, 46, int(22 + 30 * strength))
        start = rim[at] + rng.normal(0.0, 0.02, (len(at), 2))
        outward = np.sign(rim[:, 0].mean())
        lean = (np.abs(start[:, 0]) - 3.1) * 0.5
        step = np.stack([outward * lean, np.ones(len(at))], axis=1) * rng.uniform(0.08, 0.22, (len(at), 1))
        hair.strokes(start, start + step, 1, np.full(len(at), 0.9))
        melanin.line(rim + np.array([0.0, 0.42]), 0.10, 0.10)
    for lid in LOWER_LIDS:
        hair.line(curve(marks[list(lid)], 48), 0.22 + 0.2 * strength, 0.06)


def _lines(height: Canvas, age: float, rng: np.random.Generator) -> None:
    """Draws forehead lines, nasolabial folds, under-eye and glabellar lines, deeper with age."""
    for y in (7.3, 8.1, 8.9):
        x = np.linspace(-3.8, 3.8, 24)
        wave = 0.18 * np.sin(x * 0.9 + rng.uniform(0, 6)) + rng.normal(0, 0.1)
        depth = -0.030 * age * float(rng.uniform(0.3, 1.0))
        height.line(np.stack([x, y + wave - 0.02 * x * x], 1), depth, 0.10)
    for side in (1.0, -1.0):
        fold = np.array([[1.55, -0.55], [2.35, -1.7], [2.95, -2.9], [3.1, -4.0]])
        bag = np.array([[1.9, 2.55], [2.8, 2.1], [3.9, 2.2], [4.5, 2.6]])
        flip = np.array([side, 1.0])
        height.line(curve((fold * flip).astype(np.float32), 24), -0.055 * age, 0.16)
        height.line(curve((bag * flip).astype(np.float32), 24), -0.035 * age, 0.12)
        frown = np.array([[0.45 * side, 5.2], [0.55 * side, 6.3]])
        height.line(frown, -0.03 * age * float(rng.uniform(0, 1)), 0.10)
    height.values = cv2.GaussianBlur(height.values, (0, 0), 5.0)


def _stubble(hair: Canvas, amount: float, rng: np.random.Generator) -> None:
    region = Canvas()
    jaw = [[-6.6, 0.8], [-5.7, -0.6], [-3.6, -2.2], [-2.6, -1.9], [-1.2, -1.5], [0.0, -1.6]]
    jaw += [[-x, y] for x, y in reversed(jaw[:-1])]
    jaw += [[6.4, -5.0], [4.2, -8.8], [0.0, -9.6], [-4.2, -8.8], [-6.4, -5.0]]
    region.fill(np.array(jaw), 1.0, 0.45)
    lips = np.array([[-2.4, -3.5], [0.0, -2.4], [2.4, -3.5], [0.0, -4.5]])
    region.fill(lips, -1.0, 0.2)
    grain = cv2.GaussianBlur(rng.normal(size=region.values.shape).astype(np.float32), (0, 0), 1.3)
    dots = np.clip(0.42 + 1.6 * grain, 0.0, 1.0) * np.clip(region.values, 0.0, 1.0)
    hair.values = np.maximum(hair.values, dots * amount * 0.75)


def _marks(melanin: Canvas, subject: SubjectSpec, rng: np.random.Generator) -> None:
    skin = subject.skin
    for _ in range(skin.moles):
        size = float(rng.uniform(0.04, 0.085))
        spot = (float(rng.uniform(-5.0, 5.0)), float(rng.uniform(-6.5, 8.5)))
        melanin.spot(*spot, float(rng.uniform(0.3, 0.8)), (size, size))
    for _ in range(int(170 * skin.freckles)):
        x = float(rng.normal(0.0, 2.7))
        y = float(rng.normal(1.2, 1.5))
        size = float(rng.uniform(0.04, 0.09))
        ys, xs = round((TOP - y) * SCALE), round((x - LEFT) * SCALE)
        radius = max(1, round(size * SCALE))
        layer = melanin.values[ys - 12 : ys + 13, xs - 12 : xs + 13]
        if layer.shape == (25, 25):
            disc = np.zeros((25, 25), np.float32)
            cv2.circle(disc, (12, 12), radius, 1.0, -1, cv2.LINE_AA)
            layer += cv2.GaussianBlur(disc, (0, 0), 1.2) * float(rng.uniform(0.12, 0.4))


@lru_cache(maxsize=1)
def paint(subject: SubjectSpec, model: FaceModel) -> FaceMaps:
    """Paints a subject, deterministically by `subject.seed`; cached for the subject's next view."""
    rng = np.random.default_rng(subject.seed)
    marks = model.neutral[model.landmarks][:, :2]
    melanin, blood, hair, height, gloss = (Canvas() for _ in range(5))
    skin = subject.skin

    _brows(hair, subject, rng, marks)
    _lashes(hair, melanin, subject, rng, marks)
    _stubble(hair, skin.stubble, rng)
    _marks(melanin, subject, rng)
    _lines(height, skin.age, rng)

    lips = marks[OUTER_LIP]
    blood.fill(lips, 0.5 + 0.9 * skin.lips, 0.07)
    melanin.fill(lips, 0.10 + 0.12 * skin.melanin, 0.07)
    gloss.fill(lips, 0.8, 0.10)
    for side in (1.0, -1.0):
        blood.spot(3.9 * side, -0.4, 0.55 * skin.redness, (1.3, 1.2))
        blood.spot(1.95 * side, 3.25, 0.9, (0.14, 0.14))
        blood.spot(3.2 * side, 2.3, 0.25, (1.0, 0.35))
        melanin.spot(2.6 * side, 2.35, 0.06 + 0.12 * skin.age, (0.9, 0.35))
        melanin.spot(3.2 * side, 4.5, 0.07, (1.2, 0.35))
    blood.spot(0.0, 0.3, 0.45 * skin.redness, (0.9, 0.9))
    blood.spot(0.0, -6.3, 0.2 * skin.redness, (1.2, 0.8))
    gloss.spot(0.0, 1.2, 0.5, (0.9, 2.2))
    gloss.spot(0.0, 8.5, 0.35, (2.6, 1.4))

    for canvas, fine, wide in ((melanin, 0.022, 0.03), (blood, 0.035, 0.06)):
        for sigma, strength in ((4.0, fine), (30.0, wide)):
            grain = rng.normal(size=canvas.values.shape).astype(np.float32)
            smooth = cv2.GaussianBlur(grain, (0, 0), sigma)
            canvas.values += smooth * (strength / float(smooth.std()))
    pores = cv2.GaussianBlur(rng.normal(size=height.values.shape).astype(np.float32), (0, 0), 1.6)
    height.values += pores * (0.0022 / float(pores.std()))
    channels = [melanin.values, blood.values, np.clip(hair.values, 0, 1), height.values]
    channels.append(gloss.values)
    table = np.stack(channels, axis=-1).astype(np.float32)
    return FaceMaps(table, np.ascontiguousarray(table[..., 3:4]))
