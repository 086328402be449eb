"""Finds face, skin, head and eyes in a photo, because a spectral transform treats them differently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Point

if TYPE_CHECKING:
    from training.synthesis.mesh import FaceMesh

Floats = NDArray[np.float32]

DARKEST = 1e-3
# Vertices of the 468-point mesh. The picture's left comes first in each pair.
EYE_CONTOURS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (362, 382, 381, 380, 374, 373, 390, 249, 263, 466, 388, 387, 386, 385, 384, 398),
)
BROWS = ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (336, 296, 334, 293, 300, 276, 283, 282, 295, 285))
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
SUB_PIXEL_BITS = 4
# The iris has a diameter of 11.7 mm in nearly every adult, the palpebral fissure is about 30 mm wide.
IRIS_OF_EYE_WIDTH = 0.19
COLOUR_BINS = 10
# Added to both likelihoods, so that a colour seen on neither side has no effect.
COLOUR_DOUBT = 2e-3


@dataclass(frozen=True, slots=True)
class Eye:
    """The centre and radius of an iris, in pixels."""

    centre: Point
    radius_px: float


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Soft masks from 0 to 1, float32 [h, w]: `face` is the mesh's outline, `skin` is found by place and
    colour, `head` is the person without the background. `face_px`: the face's height in pixels."""

    face: Floats
    skin: Floats
    head: Floats
    eyes: tuple[Eye, ...]
    face_px: float

    def skin_median(self, values: Floats) -> float:
        """Returns the median of values [h, w] over skin, or over the whole picture if there is no skin."""
        chosen = values[self.skin > 0.5]
        return float(np.median(chosen if len(chosen) > 20 else values))


def find_regions(linear: Floats, mesh: FaceMesh | None) -> Regions:
    """Finds the regions of linear light [h, w, 3] (blue, green, red).

    Without a mesh it assumes a face in the picture's middle, and no background.
    """
    height, width = linear.shape[:2]
    if mesh is None:
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        middle = np.exp(-2.5 * (x * x + y * y)).astype(np.float32)
        bare = middle > 0.5
        skin = _like(linear, bare) * np.sqrt(middle)
        return Regions(middle, skin, np.ones((height, width), np.float32), (), 0.5 * min(height, width))
    points = np.ascontiguousarray(mesh.points[:, :2], np.float32)
    face_px = max(float(np.ptp(points[:, 1])), float(np.ptp(points[:, 0])), 8.0)
    size = (height, width)
    hull = cv2.convexHull(points)[:, 0]
    hard = polygon(hull, size)
    covered = np.zeros(size, np.float32)
    for part in (*EYE_CONTOURS, *BROWS, LIPS):
        covered = np.maximum(covered, polygon(cv2.convexHull(points[list(part)])[:, 0], size))
    inner = cv2.erode(hard, np.ones((3, 3), np.uint8), iterations=max(1, round(0.03 * face_px)))
    bare = (inner > 0.5) & (cv2.dilate(covered, np.ones((3, 3), np.uint8)) < 0.5)
    luminance = channel_mean(linear)
    head = _head(points, face_px, linear)
    near = np.maximum(hard, 0.85 * head)
    face = wide_blur(hard, 0.03 * face_px)
    eyes = tuple(_eye(points, contour, luminance) for contour in EYE_CONTOURS)
    skin = np.asarray(_like(linear, bare) * near, np.float32)
    return Regions(face, skin, head, eyes, face_px)


def channel_mean(values: NDArray[np.floating]) -> Floats:
    """Returns the mean [h, w] of three channels, ten times as fast as numpy along so short an axis."""
    total = values[:, :, 0] + values[:, :, 1] + values[:, :, 2]
    return np.asarray(total * np.float32(1.0 / 3.0), np.float32)


def wide_blur(values: Floats, sigma_px: float) -> Floats:
    """Blurs [h, w] by a Gaussian; a wide one is applied to a smaller picture, which is faster."""
    shrink = int(sigma_px / 3.0)
    height, width = values.shape
    small = (max(width // max(shrink, 1), 1), max(height // max(shrink, 1), 1))
    if shrink < 2 or min(small) < 8:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px), np.float32)
    reduced = cv2.GaussianBlur(
        cv2.resize(values, small, interpolation=cv2.INTER_AREA), (0, 0), sigma_px / shrink
    )
    return np.asarray(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def polygon(points: Floats, size: tuple[int, int]) -> Floats:
    """Draws a filled polygon [n, 2] with an anti-aliased edge: 0 to 1, [h, w]."""
    canvas = np.zeros(size, np.uint8)
    fixed = np.round(points * (1 << SUB_PIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], (255,), lineType=cv2.LINE_AA, shift=SUB_PIXEL_BITS)
    return canvas.astype(np.float32) / np.float32(255.0)


def guided(rough: Floats, guide: Floats, *, radius_px: int, smoothness: float) -> Floats:
    """Fits `rough` [h, w] to the edges of `guide` (He, Sun and Tang 2010, eq. 5, 6 and 8)."""

    def mean(values: NDArray[np.floating]) -> NDArray[np.floating]:
        side = 2 * radius_px + 1
        return np.asarray(cv2.boxFilter(values, -1, (side, side), borderType=cv2.BORDER_REFLECT))

    mean_guide, mean_rough = mean(guide), mean(rough)
    slope = (mean(guide * rough) - mean_guide * mean_rough) / (
        mean(guide * guide) - mean_guide**2 + smoothness
    )
    offset = mean_rough - slope * mean_guide
    fitted: Floats = np.clip(mean(slope) * guide + mean(offset), 0.0, 1.0).astype(np.float32)
    return fitted


def _like(linear: Floats, sample: NDArray[np.bool_]) -> Floats:
    """Returns how similar each pixel's colour is to the sampled pixels: 0 to 1, [h, w]."""
    logs = np.log(linear + np.float32(0.01))
    # Two chroma axes and a light axis: skin keeps its chroma in shade, hair and eyes do not.
    axes = np.stack([logs[..., 2] - logs[..., 1], logs[..., 1] - logs[..., 0], channel_mean(logs)], axis=2)
    chosen = axes[sample]
    if len(chosen) < 20:
        return np.zeros(linear.shape[:2], np.float32)
    centre = np.median(chosen, axis=0)
    spread = 1.4826 * np.median(np.abs(chosen - centre), axis=0)
    spread = np.maximum(spread, (0.09, 0.09, 0.25))
    away = np.abs(axes - centre) / spread
    # Lips and flushed cheeks are redder than the median and still skin.
    away[..., 0] = np.where(axes[..., 0] > centre[0], away[..., 0] * 0.5, away[..., 0])
    distance = np.sqrt(3.0 * channel_mean(away * away))
    alike = 0.5 - 0.5 * np.tanh(1.1 * (distance - 3.2))
    return np.asarray(cv2.GaussianBlur(alike.astype(np.float32), (0, 0), 1.0), np.float32)


def _head(points: Floats, face_px: float, linear: Floats) -> Floats:
    """The person's silhouette: an ellipse for the head, a flare for neck and shoulders, fitted to
    the picture's colours and edges."""
    size = (linear.shape[0], linear.shape[1])
    top, chin = points[10], points[152]
    up = (top - chin) / max(float(np.linalg.norm(top - chin)), 1e-3)
    across = np.array([-up[1], up[0]], np.float32)
    wide = float(np.linalg.norm(points[454] - points[234]))
    wide = max(wide, 0.62 * face_px)
    middle = (points[10] + points[152]) / 2 + up * 0.14 * face_px
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False, dtype=np.float32)[:, None]
    ring = middle + np.cos(turn) * across * 0.66 * wide + np.sin(turn) * up * 0.72 * face_px
    rough = polygon(ring.astype(np.float32), size)
    body = [(-0.36, 0.12), (-0.40, -0.30), (-1.25, -0.62), (-1.7, -3.0)]
    outline = [chin + x * wide * across + y * face_px * up for x, y in body]
    outline += [chin - x * wide * across + y * face_px * up for x, y in reversed(body)]
    rough = np.maximum(rough, polygon(np.array(outline, np.float32), size))
    prior = wide_blur(rough, 0.07 * face_px)
    hull = polygon(cv2.convexHull(points)[:, 0], size)
    likely = _by_colour(np.maximum(prior, hull), linear)
    guide = np.sqrt(np.maximum(channel_mean(linear), 0)).astype(np.float32)
    fitted = guided(likely, guide, radius_px=max(2, round(0.04 * face_px)), smoothness=5e-4)
    return np.maximum(fitted, hull)


def _by_colour(prior: Floats, linear: Floats) -> Floats:
    """Applies Bayes' rule with colour histograms of the pixels that are surely the person, and surely not."""
    levels = (np.clip(linear, 0, 1) ** (1 / 2.2) * (COLOUR_BINS - 1e-3)).astype(np.int64)
    bins = (levels[..., 0] * COLOUR_BINS + levels[..., 1]) * COLOUR_BINS + levels[..., 2]
    likelihood = []
    for sure in (prior > 0.9, prior < 0.1):
        counts = np.bincount(bins[sure], minlength=COLOUR_BINS**3).astype(np.float32)
        cube = counts.reshape(COLOUR_BINS, COLOUR_BINS, COLOUR_BINS)
        # Neighbouring bins have nearly the same colour.
        for axis in range(3):
            cube = cube + 0.5 * (np.roll(cube, 1, axis) + np.roll(cube, -1, axis))
        likelihood.append(cube.ravel()[bins] / max(float(cube.sum()), 1.0) + COLOUR_DOUBT)
    person, other = likelihood
    posterior = prior * person / (prior * person + (1.0 - prior) * other + 1e-9)
    return np.asarray(cv2.GaussianBlur(posterior.astype(np.float32), (0, 0), 1.0), np.float32)


def _eye(points: Floats, contour: tuple[int, ...], luminance: Floats) -> Eye:
    """Finds the darkest disc between the lids, near their middle."""
    lids = points[list(contour)]
    middle = lids.mean(axis=0)
    width = float(np.linalg.norm(lids.max(axis=0) - lids.min(axis=0)))
    radius = max(IRIS_OF_EYE_WIDTH * width, 0.7)
    height_px, width_px = luminance.shape
    reach = int(np.ceil(0.5 * width)) + 1
    x0, y0 = (int(np.clip(v - reach, 0, None)) for v in middle)
    x1, y1 = min(x0 + 2 * reach + 1, width_px), min(y0 + 2 * reach + 1, height_px)
    if x1 - x0 < 3 or y1 - y0 < 3:
        return Eye((float(middle[0]), float(middle[1])), radius)
    patch = cv2.GaussianBlur(np.ascontiguousarray(luminance[y0:y1, x0:x1]), (0, 0), 0.6 * radius)
    inside = polygon(lids - np.array([x0, y0], np.float32), (y1 - y0, x1 - x0))
    ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    off = ((xs - middle[0]) ** 2 + (ys - middle[1]) ** 2) / max(width, 1.0) ** 2
    dark = inside * np.exp(-8.0 * off) / (patch / max(float(patch.mean()), DARKEST) + 0.15) ** 2
    total = max(float(dark.sum()), 1e-6)
    return Eye((float((dark * xs).sum() / total), float((dark * ys).sum() / total)), radius)


def glint(light: Floats, eye: Eye, *, shift: Point, size: float, strength: float) -> None:
    """Adds the lamp's reflection in a cornea to light [h, w], in place.

    `shift` from the iris' centre and `size` (one sigma) in iris radii.
    """
    sigma = max(size * eye.radius_px, 0.45)
    x, y = (c + s * eye.radius_px for c, s in zip(eye.centre, shift, strict=True))
    reach = int(np.ceil(3 * sigma)) + 1
    x0, y0 = max(int(x) - reach, 0), max(int(y) - reach, 0)
    x1, y1 = min(int(x) + reach + 1, light.shape[1]), min(int(y) + reach + 1, light.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    ys, xs = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    light[y0:y1, x0:x1] += strength * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2))
