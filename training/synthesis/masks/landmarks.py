"""Draws the two-dimensional baseline: the photo of a mask, warped onto the face by a thin-plate spline.

It has no depth, no light of the face and no relief. Most masked-face data sets were made this way.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.align import ALIGNMENTS
from faces.types import Point, Spectrum
from training.synthesis.masks.designs import MaskDesign
from training.synthesis.masks.spline import ThinPlate
from training.synthesis.masks.templates import Template

Floats = NDArray[np.float32]

# The six anchors in the 112 px ArcFace frame; the second one moves with the nose coverage.
ANCHORS_112 = ((17.0, 68.0), (56.0, 62.0), (95.0, 68.0), (24.0, 101.0), (56.0, 122.0), (88.0, 101.0))
TOP_112 = {"low": 75.0, "medium": 67.0, "high": 59.0}


def apply_flat_mask(
    linear: Floats,
    landmarks: Sequence[Point],
    design: MaskDesign,
    template: Template,
    *,
    extra: Sequence[tuple[Point, Point]] = (),
) -> Floats:
    """Returns linear light float32 [h, w, 3] with the template's photo over the lower face.

    `landmarks`: the five of `faces.types.Face`; `extra`: further pairs of points (in the 112 px frame,
    in the picture), for instance of the jaw line. Raises ValueError if landmarks coincide.
    """
    frame = [*ALIGNMENTS["arcface-112"].points, *(pair[0] for pair in extra)]
    picture = [*landmarks, *(pair[1] for pair in extra)]
    anchors = np.array(ANCHORS_112)
    anchors[1, 1] = TOP_112[design.coverage]
    targets = ThinPlate(np.array(frame), np.array(picture))(anchors)
    to_photo = ThinPlate(targets, template.anchors)
    height, width = linear.shape[:2]
    margin = 0.15 * float(np.ptp(targets, axis=0).max())
    left, top = np.maximum(np.floor(targets.min(axis=0) - margin), 0).astype(int)
    right, bottom = np.minimum(np.ceil(targets.max(axis=0) + margin), (width, height)).astype(int)
    if right - left < 2 or bottom - top < 2:
        return linear.copy()
    at = np.stack(np.meshgrid(np.arange(left, right), np.arange(top, bottom)), axis=2)
    to = to_photo(at)
    colour, cover, factor = _shrunk(template, float(np.ptp(targets[:, 0])))
    layer = cv2.remap(
        np.dstack([colour, cover]), to[:, :, 0] * factor, to[:, :, 1] * factor, cv2.INTER_LINEAR
    )
    cloth = _coloured(np.asarray(layer, np.float32), design)
    masked = linear.copy()
    view = masked[top:bottom, left:right]
    view *= 1.0 - layer[:, :, 3:]
    view += cloth
    return masked


def _shrunk(template: Template, wanted_px: float) -> tuple[Floats, Floats, np.float32]:
    """Returns the photo, premultiplied, at about the size it is shown in, and the factor of reduction."""
    factor = min(1.0, wanted_px / float(template.anchors[2, 0] - template.anchors[0, 0]))
    size = tuple(max(2, round(side * factor)) for side in template.alpha.shape[::-1])
    colour = cv2.resize(template.colour * template.alpha[:, :, None], size, interpolation=cv2.INTER_AREA)
    cover = cv2.resize(template.alpha, size, interpolation=cv2.INTER_AREA)
    return np.asarray(colour, np.float32), np.asarray(cover, np.float32), np.float32(factor)


def _coloured(layer: Floats, design: MaskDesign) -> Floats:
    """Returns the premultiplied colour [h, w, 3] of the photo: its own, or one level in near-infrared."""
    gain = np.array(design.reflectance, np.float32)
    if design.spectrum is Spectrum.VIS:
        return np.asarray(layer[:, :, :3] * gain, np.float32)
    grey = layer[:, :, :3].mean(axis=2)
    level = float(grey.sum()) / max(float(layer[:, :, 3].sum()), 1e-3)
    return np.asarray((grey / max(level, 1e-3))[:, :, None] * gain, np.float32)
