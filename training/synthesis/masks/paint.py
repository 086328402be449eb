"""Paints a design flat: albedo, coverage and relief as textures of the unrolled plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels, Spectrum
from training.synthesis.masks.designs import MaskDesign
from training.synthesis.masks.mask_relief import Pattern, draw_relief
from training.synthesis.masks.outline import RADIUS_CM, Corners, corners, outline, top_edge
from training.synthesis.masks.spline import ThinPlate
from training.synthesis.masks.templates import Template

Floats = NDArray[np.float32]

# The texture's extent in cm of the plane; every outline fits.
LEFT, RIGHT, BOTTOM, TOP = -9.9, 9.9, -13.2, 3.8
# Widths of the texture; the smallest one with the resolution of the picture is used.
WIDTHS_PX = (76, 108, 152, 216, 304, 432, 608)
SHIFT = 4
FABRIC = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """`texels`: float32 [h, w, 6]: blue-green-red albedo, coverage 0 to 1, and the rise of the relief
    per cm to the right and downwards; `px_per_cm`: its scale."""

    texels: Floats
    px_per_cm: float

    def at(self, plane: Floats) -> Floats:
        """Returns texture coordinates in pixels, [n, 2], of points of the plane in cm."""
        u = (plane[:, 0] - LEFT) * self.px_per_cm
        v = (TOP - plane[:, 1]) * self.px_per_cm
        return np.stack([u, v], axis=1)


def width_for(image_px_per_cm: float) -> int:
    """Returns the texture width for a face of this scale."""
    wanted = 0.9 * image_px_per_cm * (RIGHT - LEFT)
    return next((width for width in WIDTHS_PX if width >= wanted), WIDTHS_PX[-1])


def paint(design: MaskDesign, template: Template | None, width_px: int) -> Texture:
    """Paints a design at one size; `template` is the photo that the design names, if any."""
    scale = width_px / (RIGHT - LEFT)
    size = (round(scale * (TOP - BOTTOM)), width_px)
    grid = _grid(size, scale)
    texels = np.empty((*size, 6), np.float32)
    relief = _wrinkles(design.seed, size) * np.float32(design.relief)
    noise = _noise(size, design.seed)
    if template is None:
        solid = _fill(outline(design), size, scale)
        edge_cm = cv2.distanceTransform((solid > 127).astype(np.uint8), cv2.DIST_L2, 3) / scale
        texels[:, :, 3] = cv2.GaussianBlur(solid, (0, 0), 0.7).astype(np.float32) / 255.0
        draw_relief(
            np.asarray(edge_cm, np.float32), *grid, noise, _pattern(design, grid, scale), relief, texels
        )
    else:
        colour, texels[:, :, 3] = _from_photo(design, template, grid)
        texels[:, :, :3] = np.clip(colour * (1.0 + FABRIC * noise)[:, :, None], 0.0, 1.0)
        relief *= 0.5
    texels[:, :, 4] = np.clip(cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=scale / 8), -1.5, 1.5)
    texels[:, :, 5] = np.clip(cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=scale / 8), -1.5, 1.5)
    # A photo may be wider than the texture; its cut edge is soft as well.
    texels[[0, -1], :, 3] = texels[:, [0, -1], 3] = 0.0
    return Texture(texels, scale)


@lru_cache(maxsize=8)
def _grid(size: tuple[int, int], scale: float) -> tuple[Floats, Floats]:
    """Returns u [w] and y [h] of the texels in cm."""
    u = np.arange(size[1], dtype=np.float32) / np.float32(scale) + np.float32(LEFT)
    y = np.float32(TOP) - np.arange(size[0], dtype=np.float32) / np.float32(scale)
    return u, y


def _fill(edge: Floats, size: tuple[int, int], scale: float) -> Pixels:
    canvas = np.zeros(size, np.uint8)
    points = (edge - np.array([LEFT, TOP])) * np.array([scale, -scale])
    polygon = np.round(points * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(canvas, [polygon], (255,), lineType=cv2.LINE_AA, shift=SHIFT)
    return canvas


def _pattern(design: MaskDesign, grid: tuple[Floats, Floats], scale: float) -> Pattern:
    """Returns the pleats, folds, seams and wire of a design."""
    c = corners(design)
    lines = np.zeros((0, 2))
    if design.cut == "pleated":
        lines = np.stack(_pleat_heights(design, c), axis=1)
    elif design.cut == "fold":
        upper = (c.top[1] - 3.4, c.side_top[1] - 0.4)
        lines = np.array([upper, (c.bottom[1] + 3.0, c.side_bottom[1] + 0.3)])
    edge = top_edge(design)
    top = np.interp(np.abs(grid[0]), edge[:, 0], edge[:, 1])
    return Pattern(
        lines.astype(np.float32),
        top.astype(np.float32),
        np.array(design.reflectance, np.float32),
        (design.cut == "pleated", design.cut == "seam", design.wire),
        (c.side_top[0], max(0.07, 0.8 / scale), design.relief),
    )


def _pleat_heights(design: MaskDesign, c: Corners) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns y of each pleat in the middle and at the sides, where they are closer together."""
    share = np.arange(1, design.pleats + 1) / (design.pleats + 1)
    middle = c.top[1] - 1.0 + (c.bottom[1] + 2.2 - c.top[1]) * share
    side = c.side_top[1] - 0.6 + (c.side_bottom[1] - c.side_top[1] + 1.2) * share
    return middle, side


@lru_cache(maxsize=8)
def _noise_tile(size: tuple[int, int]) -> Floats:
    return np.random.default_rng(11).standard_normal((size[0] * 2, size[1] * 2), np.float32)


def _noise(size: tuple[int, int], seed: int) -> Floats:
    """Returns a window of one noise tile, because new noise for every texel would be slow."""
    top, left = seed % size[0], (seed // size[0]) % size[1]
    window: Floats = _noise_tile(size)[top : top + size[0], left : left + size[1]]
    return window


def _wrinkles(seed: int, size: tuple[int, int]) -> Floats:
    """Returns soft creases in cm, [h, w]."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((9, 12)).astype(np.float32)
    medium = rng.standard_normal((19, 22)).astype(np.float32)
    half = (size[1] // 3, size[0] // 3)
    wide = cv2.resize(coarse, half, interpolation=cv2.INTER_CUBIC)
    narrow = cv2.resize(medium, half, interpolation=cv2.INTER_CUBIC)
    # Absolute values make creases instead of waves.
    creases = 0.06 * wide - 0.02 * np.abs(narrow)
    return np.asarray(cv2.resize(creases, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _from_photo(design: MaskDesign, template: Template, grid: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Returns albedo [h, w, 3] and coverage [h, w] of a template's photo, placed by its six anchors.

    Photos show a mask from the front, so the plane is projected to the front first.
    """
    c = corners(design)
    half = [c.side_top, c.top, c.side_bottom, c.bottom]
    targets = np.array(
        [(-half[0][0], half[0][1]), half[1], half[0], (-half[2][0], half[2][1]), half[3], half[2]]
    )
    targets[:, 0] = _frontal(targets[:, 0])
    spline = ThinPlate(targets, template.anchors)
    u, y = grid
    # The map is smooth: every fourth texel is enough.
    at = np.stack(np.meshgrid(_frontal(u[::4]), y[::4]), axis=2)
    size = (len(u), len(y))
    to_photo = _enlarge(spline(at), size)
    shrink = _texels_per_photo_pixel(template, targets, len(u))
    colour, alpha = _prefiltered(template, shrink)
    factor = np.float32(colour.shape[1] / template.alpha.shape[1])
    mx, my = to_photo[:, :, 0] * factor, to_photo[:, :, 1] * factor
    premultiplied = cv2.remap(colour, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    cover = cv2.remap(alpha, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    albedo = premultiplied / np.maximum(cover, 0.05)[:, :, None]
    if design.spectrum is Spectrum.NIR:
        grey = albedo.mean(axis=2)
        level = float(grey[cover > 0.5].mean()) if (cover > 0.5).any() else 1.0
        # Prints and dyes fade in near-infrared; the folds' shading stays.
        grey = np.maximum(grey / max(level, 1e-3), 0.0) ** 0.5
        albedo = np.repeat(grey[:, :, None], 3, axis=2)
    return (albedo * np.array(design.reflectance, np.float32)).astype(np.float32), np.asarray(
        cover, np.float32
    )


def _frontal(u: NDArray[np.floating]) -> NDArray[np.floating]:
    seen: NDArray[np.floating] = RADIUS_CM * np.sin(np.clip(u / RADIUS_CM, -1.5, 1.5))
    return seen


def _enlarge(coarse: Floats, size: tuple[int, int]) -> Floats:
    """Interpolates a grid of every fourth texel linearly to all texels."""
    columns = np.arange(size[0], dtype=np.float32) / 4
    rows = np.arange(size[1], dtype=np.float32) / 4
    x, y = np.broadcast_arrays(columns[None], rows[:, None])
    return np.asarray(
        cv2.remap(
            coarse,
            np.ascontiguousarray(x),
            np.ascontiguousarray(y),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )


def _texels_per_photo_pixel(template: Template, targets: NDArray[np.floating], width_px: int) -> float:
    wide = float(template.anchors[2, 0] - template.anchors[0, 0])
    return (float(targets[2, 0] - targets[0, 0]) * width_px / (RIGHT - LEFT)) / max(wide, 1.0)


@lru_cache(maxsize=64)
def _prefiltered(template: Template, texels_per_pixel: float) -> tuple[Floats, Floats]:
    """Returns the photo, premultiplied, halved until a texel covers about one of its pixels."""
    colour, alpha = template.colour * template.alpha[:, :, None], template.alpha
    while texels_per_pixel < 0.7 and min(alpha.shape) > 32:
        size = (alpha.shape[1] // 2, alpha.shape[0] // 2)
        colour = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
        texels_per_pixel *= 2
    return np.asarray(colour, np.float32), np.asarray(alpha, np.float32)
