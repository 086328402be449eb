"""Builds a cloth or cup mask over the lower face, from the surface of the face.

The face is unrolled onto a cylinder (angle around a vertical axis, height). There the mask is the taut
hull of nose, cheeks and chin; outline, ear loops, pleats and seams are painted on this sheet.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.synthesis.rendered.model import FaceModel, Floats, Part, Triangles
from training.synthesis.rendered.raster import rasterise
from training.synthesis.rendered.spec import MaskShape, NoseCoverage, RenderedMask
from training.synthesis.rendered.tables import remap

AXIS_Z = 2.0
MAX_ANGLE, BOTTOM, TOP = 116.0, -12.5, 5.5
GRID = (181, 233)
TEXTURE = (900, 1392)
GAP_CM = 0.10
SEAM_CM = 0.34
LOOP_CM = 0.26
HOLD_CM = 1.3


@dataclass(frozen=True, slots=True, eq=False)
class MaskSheet:
    """`points` float32 [v, 3] unposed, `triangles`, `where` [v, 2] = angle and height;
    `paint` float32 [h, w, 6]: cover, height in centimetres, slope of it along angle and along
    height, the soft cover that darkens the skin beside the mask, centimetres from the edge."""

    points: Floats
    triangles: Triangles
    where: Floats
    paint: Floats

    def look_up(self, where: Floats) -> Floats:
        return remap(self.paint, *_texel(where[:, 0], where[:, 1]))


def unroll(points: Floats) -> Floats:
    """Returns angle in degrees and height, [n, 2], of points [n, 3]."""
    angle = np.degrees(np.arctan2(points[:, 0], points[:, 2] - AXIS_Z))
    return np.stack([angle, points[:, 1]], axis=1).astype(np.float32)


def _texel(angle: Floats, height: Floats) -> tuple[Floats, Floats]:
    x = (angle + MAX_ANGLE) / (2 * MAX_ANGLE) * (TEXTURE[1] - 1)
    y = (TOP - height) / (TOP - BOTTOM) * (TEXTURE[0] - 1)
    return x.astype(np.float32), y.astype(np.float32)


def _face_radius(model: FaceModel, head: Floats) -> Floats:
    """Returns the distance of the skin from the axis on the grid, float32 GRID."""
    skin = model.triangles[model.parts == Part.SKIN]
    skin = skin[(skin < 11248).all(axis=1) & (head[skin][..., 2] > -1.5).all(axis=1)]
    where = unroll(head)
    rows, columns = GRID
    x = (where[:, 0] + MAX_ANGLE) / (2 * MAX_ANGLE) * (columns - 1) + 0.5
    y = (TOP - where[:, 1]) / (TOP - BOTTOM) * (rows - 1) + 0.5
    radius = np.hypot(head[:, 0], head[:, 2] - AXIS_Z).astype(np.float32)
    seen = rasterise(np.stack([x, y], 1).astype(np.float32), radius, skin, size=GRID, cull=False)
    found: Floats = seen.near.copy()
    for row in found:
        known = np.flatnonzero(row > 0)
        if len(known):
            row[:] = np.interp(np.arange(len(row)), known, row[known])
    return found


def _outline(model: FaceModel, head: Floats, mask: RenderedMask) -> tuple[Floats, Floats]:
    """Returns upper and lower edge, each [k, 2] of angle and height, from the right to the left corner."""
    marks = head[model.landmarks]
    flat = unroll(marks)
    nose = {NoseCoverage.LOW: 0.15, NoseCoverage.MEDIUM: 0.52, NoseCoverage.HIGH: 0.86}
    tip, bridge = float(marks[30, 1]) + 0.2, float(marks[28, 1])
    crest = tip + (bridge - tip) * nose[mask.coverage]
    lid = float(marks[[40, 41, 46, 47], 1].min())
    crest = min(crest, lid - 0.1)
    jaw = float(np.abs(flat[[2, 14], 0]).mean())
    chin = float(marks[8, 1])
    side = float(marks[[3, 13], 1].mean())
    if mask.shape is MaskShape.WIDE:
        corner = jaw * 0.78
        up = [(0, crest), (9, crest - 0.18), (22, crest * 0.55 + 0.15), (corner, side + 2.9)]
        low = [(0, chin - mask.drop), (22, chin - 0.1), (46, chin + 2.2), (corner, side - 0.7)]
    else:
        corner = jaw * 0.72
        up = [(0, crest), (8, crest - 0.25), (24, crest * 0.4 - 0.2), (corner, side + 1.5)]
        low = [(0, chin - mask.drop), (24, chin + 0.25), (44, chin + 2.6), (corner, side + 0.7)]
    edges = []
    for half in (up, low):
        at = np.array(half)
        angle = np.linspace(0.0, corner, 40)
        slope = np.interp(angle, at[:, 0], at[:, 1])
        kernel = np.hanning(13) / np.hanning(13).sum()
        slope = np.convolve(np.pad(slope, 6, mode="reflect", reflect_type="odd"), kernel, "valid")
        slope[:3] = np.minimum(slope[:3], slope[3]) if half is low else slope[:3]
        whole = np.concatenate([-angle[:0:-1], angle]), np.concatenate([slope[:0:-1], slope])
        edges.append(np.stack(whole, axis=1).astype(np.float32))
    return edges[0], edges[1]


def _points(at: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    x, y = _texel(at[:, 0], at[:, 1])
    return np.round(np.stack([x, y], axis=1) * 16).astype(np.int32)


def _paint(upper: Floats, lower: Floats, mask: RenderedMask) -> Floats:
    per_cm = (TEXTURE[0] - 1) / (TOP - BOTTOM)
    body = np.zeros(TEXTURE, np.uint8)
    cv2.fillPoly(body, [_points(np.concatenate([upper, lower[::-1]]))], 255, cv2.LINE_AA, shift=4)
    inside = cv2.distanceTransform((body > 127).astype(np.uint8), cv2.DIST_L2, 5) / per_cm
    # A rolled edge, and inside it a stitched groove.
    height = 0.05 * np.clip(inside / 0.12, 0, 1) - 0.05 * np.exp(-0.5 * ((inside - SEAM_CM) / 0.035) ** 2)
    middle = np.zeros(TEXTURE, np.float32)
    if mask.shape is MaskShape.WIDE:
        for k in range(1, mask.pleats + 1):
            part = k / (mask.pleats + 1)
            fold = upper * (1 - part) + lower * part
            layer = np.zeros(TEXTURE, np.uint8)
            cv2.polylines(layer, [_points(fold)], False, 255, 3, cv2.LINE_AA, shift=4)
            middle -= cv2.GaussianBlur(layer.astype(np.float32) / 255, (0, 0), 3.5) * 0.20
    else:
        seam = np.array([[0.0, upper[:, 1].max()], [0.0, lower[:, 1].min()]], np.float32)
        layer = np.zeros(TEXTURE, np.uint8)
        cv2.polylines(layer, [_points(seam)], False, 255, 5, cv2.LINE_AA, shift=4)
        middle += cv2.GaussianBlur(layer.astype(np.float32) / 255, (0, 0), 4.0) * 0.16
    height += middle * np.clip((inside - SEAM_CM) / 0.2, 0, 1)
    loops = np.zeros(TEXTURE, np.uint8)
    for side, corner in ((-1.0, 0), (1.0, -1)):
        top, base = upper[corner], lower[corner]
        for start, drop in ((top, 3.3), (base, -0.4)):
            line = np.array([start - [side * 1.5, 0.0], [side * 92.0, drop]], np.float32)
            cv2.polylines(loops, [_points(line)], False, 255, round(LOOP_CM * per_cm), cv2.LINE_AA, shift=4)
    cover = np.maximum(body, loops).astype(np.float32) / 255
    height = cv2.GaussianBlur(height.astype(np.float32), (0, 0), 1.2)
    dx = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) / 8 * per_cm
    dy = -cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) / 8 * per_cm
    soft = cv2.GaussianBlur(cover, (0, 0), 0.45 * per_cm)
    result: Floats = np.stack([cover, height, dx, dy, soft, inside], axis=-1).astype(np.float32)
    return result


def _hull(heights: Floats, values: Floats) -> Floats:
    """Returns the upper concave hull of values over heights (both [n], heights ascending)."""
    stack: list[int] = []
    for i in range(len(heights)):
        while len(stack) > 1:
            a, b = stack[-2], stack[-1]
            cross = (heights[b] - heights[a]) * (values[i] - values[a])
            cross -= (values[b] - values[a]) * (heights[i] - heights[a])
            if cross < 0:
                break
            stack.pop()
        stack.append(i)
    result: Floats = np.interp(heights, heights[stack], values[stack]).astype(np.float32)
    return result


def _stretch(angle: Floats, radius: Floats) -> Floats:
    """Returns the radius of cloth pulled straight at one height: the hull of (x, z) on the same angles."""
    x, z = np.sin(angle) * radius, np.cos(angle) * radius
    order = np.argsort(x, kind="stable")
    z[order] = _hull(x[order], z[order])
    turned = np.arctan2(x, z)
    again = np.argsort(turned, kind="stable")
    pulled = np.interp(angle, turned[again], np.hypot(x, z)[again])
    result: Floats = np.maximum(pulled, radius).astype(np.float32)
    return result


def build_mask(model: FaceModel, head: Floats, mask: RenderedMask) -> MaskSheet:
    """Builds the mask on a head (unposed vertices [v, 3], expression included)."""
    rows, columns = GRID
    angle = np.linspace(-MAX_ANGLE, MAX_ANGLE, columns, dtype=np.float32)
    height = np.linspace(TOP, BOTTOM, rows, dtype=np.float32)
    face = _face_radius(model, head)
    upper, lower = _outline(model, head, mask)
    top = np.interp(angle, upper[:, 0], upper[:, 1])
    base = np.interp(angle, lower[:, 0], lower[:, 1])
    taut = face.copy()
    corner = float(upper[-1, 0])
    a, h = np.meshgrid(np.radians(angle), height)
    within = (np.abs(angle) <= corner) & (h <= top) & (h >= base)
    for _ in range(2):
        for row in np.flatnonzero(within.sum(axis=1) > 2):
            span = np.flatnonzero(within[row])
            taut[row, span] = _stretch(a[row, span], taut[row, span])
        for column in np.flatnonzero(within.sum(axis=0) > 2):
            span = np.flatnonzero(within[:, column])[::-1]
            taut[span, column] = _hull(height[span], taut[span, column])
    # The mask is taut in the middle, and on the skin along the edge, where wire and loops hold it.
    paint = _paint(upper, lower, mask)
    where = np.stack([np.degrees(a), h], axis=-1).reshape(-1, 2).astype(np.float32)
    inset = remap(paint[..., 5:], *_texel(where[:, 0], where[:, 1]))[:, 0].reshape(GRID)
    hold = np.clip(inset / HOLD_CM, 0.0, 1.0)
    hold = hold * hold * (3.0 - 2.0 * hold)
    taut = cv2.GaussianBlur(taut, (0, 0), 2.0)
    bulge = 0.55 if mask.shape is MaskShape.ROUND else 0.15
    skin = cv2.GaussianBlur(face, (0, 0), 1.5)
    radius = skin + (np.maximum(taut, skin) - skin + bulge * hold) * hold
    radius = np.maximum(radius, face) + GAP_CM
    points = np.stack([np.sin(a) * radius, h, np.cos(a) * radius + AXIS_Z], axis=-1)
    shown = remap(cv2.dilate(paint[..., 0], np.ones((25, 25), np.uint8))[..., None], *_texel(*where.T))
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    p, q, r, s = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    quads = np.stack([p, s, r, q], axis=-1).reshape(-1, 4)
    quads = quads[(shown[quads, 0] > 0.01).any(axis=1)]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return MaskSheet(points.reshape(-1, 3).astype(np.float32), triangles, where, paint)
