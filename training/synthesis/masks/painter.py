"""Paints a mask on a fitted face, in linear light; only the surroundings of the mask change."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthesis.masks.designs import Coverage, Cut, MaskDesign, Reflectance, Shape
from training.synthesis.masks.light import FaceLight, fit_light, skin_vertices, slow_shading
from training.synthesis.masks.loops import draw_loops, loop_weights
from training.synthesis.masks.outline import outline
from training.synthesis.masks.paint import Texture, paint, width_for
from training.synthesis.masks.raster import FAR, blend, fill, lay_under, shade
from training.synthesis.masks.raster import normals as unit_normals
from training.synthesis.masks.surface import Sheet, build_sheet
from training.synthesis.masks.templates import TemplateSet, chosen_template
from training.synthesis.mesh import FaceMesh, MeshTopology

Floats = NDArray[np.float32]

CACHED_DESIGNS = 64
LUMA = np.array([[0.11, 0.59, 0.30]], np.float32)
# The face hides the far side of a mask only where it is this far in front of it.
OCCLUDER_CM = 0.9
MARGIN_CM = 1.2
# Spare cm around the usual outline, for the drop and lift of any mask of a shape.
USUAL_DROP_CM, SPARE_CM = 1.2, 2.0
FEATHER_PX = 0.65
# Exponents of slow shading and harmonics; with exponents of 1 the light would count twice.
POWERS = np.array([0.65, 0.75], np.float32)
LOOP_LIGHT = 0.75
# Folds show in flat light too, because they turn away from it and shade each other.
FOLD_FROM_ABOVE = 0.35
SHADOW, SHADOW_CM = 0.45, 0.35


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    sheet: Sheet
    texture: Texture
    loops: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """The picture in the window, and the face in it."""

    view: Floats
    luminance: Floats
    face: Floats
    normals: Floats
    light: FaceLight
    px_per_cm: float


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """The part of the picture that a mask can change, in pixels."""

    top: int
    left: int
    height: int
    width: int


class MaskPainter:
    """Paints masks on faces. Caches the last designs, so a repeated one is cheaper; not thread-safe."""

    def __init__(self, topology: MeshTopology, templates: TemplateSet | None = None) -> None:
        self._topology = topology
        self._templates = templates
        self._skin = skin_vertices(topology.canonical)
        self._spread = float(topology.canonical.std(axis=0).dot([1.0, 1.0, 1.0]))
        self._fits: dict[tuple[Shape, Coverage, Cut], tuple[Sheet, Floats]] = {}
        self._sheets: dict[Coverage, Sheet] = {}
        self._prepared: OrderedDict[tuple[MaskDesign, int], _Prepared] = OrderedDict()
        self._nothing = np.zeros((len(topology.canonical), 0), np.float32)

    def apply(self, linear: Floats, mesh: FaceMesh, design: MaskDesign) -> Floats:
        """Returns a copy of the picture with the mask on.

        `linear`: linear light float32 [h, w, 3], blue-green-red; `mesh`: in pixels of that picture.
        Raises KeyError for an unknown template, ValueError for a picture of another shape or type.
        """
        if linear.dtype != np.float32 or linear.ndim != 3 or linear.shape[2] != 3:
            raise ValueError(f"linear light is float32 [h, w, 3], got {linear.dtype} {linear.shape}")
        masked = linear.copy()
        scale = self._px_per_cm(mesh)
        parts = self._prepare(design, width_for(scale))
        points = parts.sheet.weights @ mesh.points
        loops = (parts.loops @ mesh.points).astype(np.float32)
        window = _window(points, loops, scale, linear.shape)
        if window is None:
            return masked
        view = masked[window.top : window.top + window.height, window.left : window.left + window.width]
        shift = np.array([window.left, window.top, 0.0], np.float32)
        face = mesh.points - shift
        normals = _normals(face, self._topology.triangles)
        luminance = cv2.transform(view, LUMA)
        soft = cv2.GaussianBlur(luminance, (0, 0), max(0.5, 0.3 * scale))
        light = fit_light(np.asarray(soft, np.float32), face, normals, self._skin, design.spectrum)
        scene = _Scene(view, luminance, face, normals, light, scale)
        on_face, layer = self._cloth(scene, parts, points - shift)
        if design.loops is not None:
            _add_loops(layer, scene, loops - shift, design.loops)
        layer = cv2.GaussianBlur(layer, (0, 0), FEATHER_PX)
        blend(view, layer, _shadow(layer[:, :, 3], on_face, scale))
        return masked

    def _cloth(self, scene: _Scene, parts: _Prepared, points: Floats) -> tuple[Floats, Floats]:
        """Returns where the face is, [h, w], and the lit cloth over it, premultiplied [h, w, 4]."""
        face, light, scale = scene.face, scene.light, scene.px_per_cm
        size = scene.view.shape[:2]
        depth = np.full(size, FAR, np.float32)
        behind = face.copy()
        behind[:, 2] += OCCLUDER_CM * scale
        fill(behind, self._nothing, self._topology.triangles, depth, np.empty((*size, 0), np.float32))
        on_face = (depth < FAR).astype(np.float32)
        cloth_normals = _normals(points, parts.sheet.triangles)
        values = np.column_stack([parts.texture.at(parts.sheet.plane), light.on(cloth_normals)])
        drawn = np.full((*size, 3), -1.0, np.float32)
        fill(points, values.astype(np.float32), parts.sheet.triangles, depth, drawn)
        slow = slow_shading(scene.luminance, on_face, scale)
        layer = np.empty((*size, 4), np.float32)
        shade(parts.texture.texels, drawn, slow, POWERS, _lamp(light, face), layer)
        return on_face, layer

    def _px_per_cm(self, mesh: FaceMesh) -> float:
        return float(mesh.points.std(axis=0).dot([1.0, 1.0, 1.0])) / self._spread

    def _prepare(self, design: MaskDesign, width_px: int) -> _Prepared:
        key = (design, width_px)
        if key in self._prepared:
            self._prepared.move_to_end(key)
            return self._prepared[key]
        template = chosen_template(design, self._templates)
        sheet, loops = self._fitted(design)
        prepared = _Prepared(sheet, paint(design, template, width_px), loops)
        self._prepared[key] = prepared
        if len(self._prepared) > CACHED_DESIGNS:
            self._prepared.popitem(last=False)
        return prepared

    def _fitted(self, design: MaskDesign) -> tuple[Sheet, Floats]:
        """Returns the sheet of every mask of this shape, and its loops."""
        key = (design.shape, design.coverage, design.cut)
        if key not in self._fits:
            if design.coverage not in self._sheets:
                self._sheets[design.coverage] = build_sheet(self._topology, design.coverage)
            whole = self._sheets[design.coverage]
            usual = replace(design, lift_cm=0.0, drop_cm=USUAL_DROP_CM)
            edge = outline(usual)
            loops = loop_weights(usual, whole, self._topology)
            self._fits[key] = whole.part(edge.min(axis=0) - SPARE_CM, edge.max(axis=0) + SPARE_CM), loops
        return self._fits[key]


def _window(points: Floats, loops: Floats, scale: float, shape: tuple[int, ...]) -> _Window | None:
    """Returns the window around mask and loops inside the picture, or None if they are outside."""
    every = np.concatenate([points[:, :2], loops.reshape(-1, 3)[:, :2]])
    margin = MARGIN_CM * scale + 2
    left, top = np.floor(every.min(axis=0) - margin).astype(int)
    right, bottom = np.ceil(every.max(axis=0) + margin).astype(int)
    left, top = max(0, int(left)), max(0, int(top))
    right, bottom = min(shape[1], int(right) + 1), min(shape[0], int(bottom) + 1)
    if right - left < 2 or bottom - top < 2:
        return None
    return _Window(top, left, bottom - top, right - left)


def _add_loops(layer: Floats, scene: _Scene, loops: Floats, colour: Reflectance) -> None:
    """Draws the loops under the cloth and over the skin."""
    cover, share = draw_loops(loops, scene.normals, scene.view.shape, scene.px_per_cm)
    lit = LOOP_LIGHT * scene.light.irradiance * np.array(colour)
    lay_under(layer, cover, share, lit.astype(np.float32))


def _lamp(light: FaceLight, face: Floats) -> Floats:
    """Returns irradiance, and the light from the right and from below in the axes of the head: [3]."""
    across = face[454, :2] - face[234, :2]
    cos, sin = across / max(float(np.hypot(*across)), 1e-6)
    right = float(light.slope[0] * cos + light.slope[1] * sin)
    below = float(light.slope[1] * cos - light.slope[0] * sin) - FOLD_FROM_ABOVE
    return np.array([light.irradiance, right, below], np.float32)


def _normals(points: Floats, triangles: NDArray[np.int32]) -> Floats:
    out = np.empty_like(points)
    unit_normals(points, triangles, out)
    return out


def _shadow(alpha: Floats, on_face: Floats, scale: float) -> Floats:
    """Returns the share of light that the mask takes from the skin near its edge, mostly below it: [h, w]."""
    sigma = max(0.6, SHADOW_CM * scale)
    wide = cv2.GaussianBlur(alpha, (0, 0), sigma)
    down = cv2.warpAffine(wide, np.array([[1.0, 0, 0], [0, 1.0, 0.4 * sigma]]), wide.shape[::-1])
    return np.asarray(SHADOW * down * (0.45 + 0.55 * on_face), np.float32)
