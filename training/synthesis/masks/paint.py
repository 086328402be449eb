"""A design painted flat: albedo, coverage and relief as textures of the unrolled plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Spectrum
from training.synthesis.masks.designs import MaskDesign
from training.synthesis.masks.outline import RADIUS_CM, Corners, corners, outline, top_edge
from training.synthesis.masks.spline import ThinPlate
from training.synthesis.masks.templates import Template

Floats = NDArray[np.float32]

# The paper's extent in cm of the plane: every outline fits.
LEFT, RIGHT, BOTTOM, TOP = -9.9, 9.9, -13.2, 3.8
# Widths of the paper; the smallest that is as fine as the picture is painted.
WIDTHS_PX = (76, 152, 304, 608)
SHIFT = 4
HEM_CM = 0.45
PLEAT_CM = 0.2
WIRE_CM = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """`cloth`: float32 [h, w, 4], blue-green-red albedo and coverage 0 to 1; `slope`: float32
    [h, w, 2], rise of the relief per cm to the right and downwards; `px_per_cm`: its scale."""

    cloth: Floats
    slope: Floats
    px_per_cm: float

    def at(self, plane: Floats) -> Floats:
        """Texture coordinates in pixels, [n, 2], of points of the plane in cm."""
        u = (plane[:, 0] - LEFT) * self.px_per_cm
        v = (TOP - plane[:, 1]) * self.px_per_cm
        return np.stack([u, v], axis=1)


def width_for(image_px_per_cm: float) -> int:
    """The texture width for a face of that scale."""
    wanted = 0.9 * image_px_per_cm * (RIGHT - LEFT)
    return next((width for width in WIDTHS_PX if width >= wanted), WIDTHS_PX[-1])


def paint(design: MaskDesign, template: Template | None, width_px: int) -> Texture:
    """Paint a design at one size; `template` is the photo that the design names, if it names one."""
    scale = width_px / (RIGHT - LEFT)
    size = (round(scale * (TOP - BOTTOM)), width_px)
    grid = _grid(size, scale)
    solid = _fill(outline(design), size, scale)
    if template is not None:
        colour, alpha = _from_photo(design, template, grid)
        relief = 0.5 * design.relief * _wrinkles(design.seed, size, scale)
        albedo = colour
    else:
        alpha = cv2.GaussianBlur(solid, (0, 0), 0.7)
        inside = (solid > 0.5).astype(np.uint8)
        edge = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 3), np.float32) / scale
        relief, dark = _relief(design, grid, edge, scale)
        relief += design.relief * _wrinkles(design.seed, size, scale)
        albedo = dark[:, :, None] * np.array(design.reflectance, np.float32)
    fabric = 1.0 + 0.02 * _noise(size, design.seed)
    cloth = np.empty((*size, 4), np.float32)
    cloth[:, :, :3] = np.clip(albedo * fabric[:, :, None], 0.0, 1.0)
    cloth[:, :, 3] = alpha
    slope = np.stack(
        [
            cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=scale / 8),
            cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=scale / 8),
        ],
        axis=2,
    )
    return Texture(cloth, np.clip(slope, -1.5, 1.5).astype(np.float32), scale)


@lru_cache(maxsize=8)
def _grid(size: tuple[int, int], scale: float) -> tuple[Floats, Floats]:
    """u [1, w] and y [h, 1] in cm of every texel."""
    u = (np.arange(size[1], dtype=np.float32) / scale + LEFT)[None]
    y = (TOP - np.arange(size[0], dtype=np.float32) / scale)[:, None]
    return u, y


def _fill(edge: Floats, size: tuple[int, int], scale: float) -> Floats:
    canvas = np.zeros(size, np.uint8)
    points = (edge - np.array([LEFT, TOP])) * np.array([scale, -scale])
    polygon = np.round(points * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(canvas, [polygon], (255,), lineType=cv2.LINE_AA, shift=SHIFT)
    return np.asarray(canvas, np.float32) / 255.0


def _relief(
    design: MaskDesign, grid: tuple[Floats, Floats], edge_cm: Floats, scale: float
) -> tuple[Floats, Floats]:
    """Height in cm and darkening by folds, seams and stitches, each [h, w]."""
    c = corners(design)
    fine = max(0.07, 0.8 / scale)
    # A hem: a doubled band with a stitch at its inner side.
    height = 0.03 * np.clip((HEM_CM - edge_cm) / fine, 0, 1)
    dark = 1.0 - 0.16 * _ridge(edge_cm - HEM_CM, fine)
    if design.cut == "pleated":
        for middle, side in zip(*_pleat_heights(design, c), strict=True):
            gap = _bow(grid, middle, side, c.side_top[0])
            # Cloth folds over: a step, and a dark line under it.
            height += design.relief * PLEAT_CM * (np.clip(gap / 0.9, 0, 1) - np.clip(gap / fine + 0.5, 0, 1))
            dark *= (
                1.0
                - 0.3 * _ridge(gap + 0.6 * fine, 1.2 * fine)
                - 0.1 * np.clip(1 + gap / 0.8, 0, 1) * (gap < 0)
            )
    elif design.cut == "seam":
        u = np.broadcast_to(grid[0], edge_cm.shape)
        height += design.relief * (0.16 * np.exp(-np.abs(u) / 0.5))
        dark *= 1.0 - 0.28 * _ridge(u, fine)
    elif design.cut == "fold":
        for middle, side in (
            (c.top[1] - 3.4, c.side_top[1] - 0.4),
            (c.bottom[1] + 3.0, c.side_bottom[1] + 0.3),
        ):
            gap = _bow(grid, middle, side, c.side_top[0])
            height += design.relief * 0.12 * np.exp(-np.abs(gap) / 0.4)
            dark *= 1.0 - 0.28 * _ridge(gap, fine)
    if design.wire:
        gap = _below_top(design, grid) - 0.8
        reach = np.clip((4.2 - np.abs(grid[0])) / 0.4, 0, 1)
        height += 0.06 * _ridge(gap, max(WIRE_CM, fine)) * reach
    return height.astype(np.float32), dark.astype(np.float32)


def _pleat_heights(design: MaskDesign, c: Corners) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each pleat, y in the middle and at the sides, where they are stitched closer together."""
    share = np.arange(1, design.pleats + 1) / (design.pleats + 1)
    middle = c.top[1] - 1.0 + (c.bottom[1] + 2.2 - c.top[1]) * share
    side = c.side_top[1] - 0.6 + (c.side_bottom[1] - c.side_top[1] + 1.2) * share
    return middle, side


def _bow(grid: tuple[Floats, Floats], middle: float, side: float, width: float) -> Floats:
    """Height above a line that bows from the sides to the middle, cm [h, w]."""
    u, y = grid
    line = middle + (side - middle) * np.minimum(np.abs(u) / width, 1.2) ** 2
    return (y - line).astype(np.float32)


def _below_top(design: MaskDesign, grid: tuple[Floats, Floats]) -> Floats:
    edge = top_edge(design)
    line = np.interp(np.abs(grid[0][0]), edge[:, 0], edge[:, 1]).astype(np.float32)
    return np.asarray(line[None] - grid[1], np.float32)


def _ridge(distance: Floats, width: float) -> Floats:
    return np.asarray(np.exp(-((distance / width) ** 2)), np.float32)


@lru_cache(maxsize=8)
def _noise_tile(size: tuple[int, int]) -> Floats:
    return np.random.default_rng(11).standard_normal((size[0] * 2, size[1] * 2), np.float32)


def _noise(size: tuple[int, int], seed: int) -> Floats:
    """A window of one tile: new noise for every texel would cost more than all the rest."""
    top, left = seed % size[0], (seed // size[0]) % size[1]
    window: Floats = _noise_tile(size)[top : top + size[0], left : left + size[1]]
    return window


def _wrinkles(seed: int, size: tuple[int, int], scale: float) -> Floats:
    """Soft creases, cm [h, w], most of them across the cheeks."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((9, 15)).astype(np.float32)
    medium = rng.standard_normal((22, 26)).astype(np.float32)
    to = (size[1], size[0])
    wide = cv2.resize(coarse, to, interpolation=cv2.INTER_CUBIC)
    narrow = cv2.resize(medium, to, interpolation=cv2.INTER_CUBIC)
    # Absolute values make creases, not dunes.
    creases: Floats = (0.06 * wide - 0.02 * np.abs(narrow)).astype(np.float32)
    return creases if scale > 4.5 else cv2.GaussianBlur(creases, (0, 0), 1.0)


def _from_photo(design: MaskDesign, template: Template, grid: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Albedo [h, w, 3] and coverage [h, w] of a template's photo, by its six anchors.

    Photos show a mask from the front, so the plane is first seen from the front as well.
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
    coarse_u, coarse_y = u[:, ::4], y[::4]
    at = np.stack(np.broadcast_arrays(_frontal(coarse_u), coarse_y), axis=2)
    size = (u.shape[1], y.shape[0])
    to_photo = _enlarge(spline(at), size)
    shrink = _texels_per_photo_pixel(template, targets, u.shape[1])
    colour, alpha = _prefiltered(template, shrink)
    factor = np.float32(colour.shape[1] / template.alpha.shape[1])
    mx, my = to_photo[:, :, 0] * factor, to_photo[:, :, 1] * factor
    premultiplied = cv2.remap(colour, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    cover = cv2.remap(alpha, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    worn = premultiplied / np.maximum(cover, 0.05)[:, :, None]
    if design.spectrum is Spectrum.NIR:
        grey = worn.mean(axis=2)
        level = float(grey[cover > 0.5].mean()) if (cover > 0.5).any() else 1.0
        # Prints and dyes fade in near-infrared; the folds' shading stays.
        grey = np.maximum(grey / max(level, 1e-3), 0.0) ** 0.5
        worn = np.repeat(grey[:, :, None], 3, axis=2)
    return (worn * np.array(design.reflectance, np.float32)).astype(np.float32), np.asarray(cover, np.float32)


def _frontal(u: NDArray[np.floating]) -> NDArray[np.floating]:
    seen: NDArray[np.floating] = RADIUS_CM * np.sin(np.clip(u / RADIUS_CM, -1.5, 1.5))
    return seen


def _enlarge(coarse: Floats, size: tuple[int, int]) -> Floats:
    """Linear interpolation of a grid of every fourth texel back to all."""
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
    """The photo, premultiplied, halved until a texel takes about one of its pixels."""
    colour, alpha = template.colour * template.alpha[:, :, None], template.alpha
    while texels_per_pixel < 0.7 and min(alpha.shape) > 32:
        size = (alpha.shape[1] // 2, alpha.shape[0] // 2)
        colour = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
        texels_per_pixel *= 2
    return np.asarray(colour, np.float32), np.asarray(alpha, np.float32)
