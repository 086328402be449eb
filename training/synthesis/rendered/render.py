"""Renders one view of one subject: geometry, layers of pixels, light, sensor."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from faces.types import Pixels, Spectrum
from training.synthesis.rendered import hair as hairs
from training.synthesis.rendered import light as lights
from training.synthesis.rendered import materials, sensor
from training.synthesis.rendered.maps import paint
from training.synthesis.rendered.mask import MaskSheet, build_mask, unroll
from training.synthesis.rendered.model import FaceModel, Floats, Part, Triangles, smooth_normals
from training.synthesis.rendered.raster import Coverage, rasterise
from training.synthesis.rendered.spec import SubjectSpec, ViewSpec

SUPERSAMPLE = 2
PIVOT = np.array([0.0, 0.5, 0.0], np.float32)
AIM = np.array([0.0, 2.2, 0.0], np.float32)
EYES = ((21451, 22221, 1.0), (23021, 23791, -1.0))
MASK_BIAS = 0.006


@dataclass(frozen=True, slots=True, eq=False)
class _Camera:
    """A pinhole on the +z axis at `eye`, looking at AIM; `focal` in (supersampled) pixels."""

    eye: Floats
    focal: float
    side: int
    shift: tuple[float, float]

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Returns picture positions [n, 2], the first pixel's centre at 0.5, and 1 / depth [n]."""
        near = 1.0 / np.maximum(self.eye[2] - points[:, 2], 1e-3)
        x = self.side / 2 + self.focal * (points[:, 0] - self.shift[0]) * near
        y = self.side / 2 - self.focal * (points[:, 1] - AIM[1] - self.shift[1]) * near
        return np.stack([x, y], axis=1).astype(np.float32), near.astype(np.float32)

    def look(self, points: Floats, triangles: Triangles, *, cull: bool = True) -> Coverage:
        at, near = self.project(points)
        return rasterise(at, near, triangles, size=(self.side, self.side), cull=cull)


class _Picture:
    """Linear light and depth, composed of layers."""

    def __init__(self, behind: Floats) -> None:
        self.side = behind.shape[0]
        self.light = behind.reshape(-1, 3).copy()
        self.near = np.zeros(self.side * self.side, np.float32)

    def add(self, seen: Coverage, colour: Floats, cover: Floats, *, bias: float = 0.0) -> None:
        """Puts a layer over what lies behind it; the depth of pixels with `cover` [n] below 0.5 stays."""
        at = seen.pixels
        depth = seen.near.reshape(-1)[at]
        front = depth * (1.0 + bias) >= self.near[at]
        at, cover = at[front], cover[front][:, None]
        self.light[at] = self.light[at] * (1.0 - cover) + colour[front] * cover
        solid = cover[:, 0] >= 0.5
        self.near[at[solid]] = depth[front][solid]


def _rotation(view: ViewSpec) -> Floats:
    yaw, pitch, roll = np.radians([view.yaw, -view.pitch, view.roll])
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    cr, sr = np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    result: Floats = (about_z @ about_x @ about_y).astype(np.float32)
    return result


def _camera(view: ViewSpec) -> _Camera:
    eye = np.array([0.0, AIM[1], view.distance], np.float32)
    side = view.size_px * SUPERSAMPLE
    return _Camera(eye, side / view.span * (view.distance - 9.0), side, view.shift)


def _rest(subject: SubjectSpec, view: ViewSpec, model: FaceModel) -> Floats:
    """Returns the subject's vertices with the view's expression and gaze, before the head is turned."""
    return _look_aside(model.pose(model.shape(subject.identity), view.expression), view.gaze)


def pose(points: Floats, turn: Floats) -> Floats:
    """Turns points [n, 3] about the top of the neck."""
    result: Floats = ((points - PIVOT) @ turn.T + PIVOT).astype(np.float32)
    return result


def _look_aside(head: Floats, gaze: tuple[float, float]) -> Floats:
    """Turns both eyeballs (degrees to the picture's right, and up) about their centres."""
    turned = head.copy()
    a, e = np.radians(gaze[0]), np.radians(gaze[1])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(e), np.sin(e)], [0, -np.sin(e), np.cos(e)]])
    both = (about_x @ about_y).astype(np.float32)
    for start, end, _ in EYES:
        ball = head[start:end]
        centre = (ball.min(axis=0) + ball.max(axis=0)) / 2
        turned[start:end] = (ball - centre) @ both.T + centre
    return turned


@lru_cache(maxsize=2)
def _openness(model: FaceModel) -> Floats:
    """Returns the ambient occlusion of the mean face, which all subjects share."""
    normals = smooth_normals(model.neutral, model.triangles)
    return lights.openness(model.neutral, normals, model.triangles)


def render(subject: SubjectSpec, view: ViewSpec, model: FaceModel) -> Pixels:
    """Renders uint8 [size, size, 3], blue-green-red; a near-infrared view has equal channels.

    The result depends on the arguments only, on one machine.
    """
    rng = np.random.default_rng(view.seed)
    side = view.size_px * SUPERSAMPLE
    infrared = view.spectrum is Spectrum.NIR
    camera = _camera(view)
    eye = camera.eye
    turn = _rotation(view)

    rest = _rest(subject, view, model)
    sheet = None if view.mask is None else build_mask(model, rest, view.mask)
    shells = [
        shell
        for shell in (
            hairs.scalp_shell(model, rest, subject.hair, subject.seed),
            hairs.curtain(rest, model, subject.hair, subject.seed),
        )
        if shell is not None
    ]
    head = pose(rest, turn)
    meshes = [(head, model.triangles)]
    meshes += [
        (pose(s.points, turn), s.triangles[(s.strands[s.triangles, 2] > 0.2).all(axis=1)]) for s in shells
    ]
    towards = lights.direction(view.light.azimuth, view.light.elevation)
    shadow = lights.shadow_map(meshes, towards)
    shine = lights.lamp if infrared else lights.room

    picture = _Picture(sensor.background(view, side, rng))
    seen = camera.look(head, model.triangles)
    normals = seen.sample(smooth_normals(head, model.triangles))
    rows = materials.HeadRows(
        part=model.parts[seen.triangle.reshape(-1)[seen.pixels]],
        neutral=seen.sample(model.neutral),
        points=seen.sample(head),
        normals=lights.unit(normals),
        open=seen.sample(_openness(model)[:, None])[:, 0],
    )
    if sheet is not None:
        rows = rows.beside_mask(sheet.look_up(unroll(seen.sample(rest)))[:, 4])
    surface = materials.head(rows, subject, view, paint(subject, model), turn)
    colour = shine(surface, view.light, shadow, eye)
    picture.add(seen, colour, np.ones(len(colour), np.float32))
    metered = seen.pixels[
        (rows.part == Part.SKIN)
        & (np.abs(rows.neutral[:, 0]) < 6.0)
        & (rows.neutral[:, 1] > -7.0)
        & (rows.neutral[:, 1] < 9.5)
    ]

    for shell in shells:
        points = pose(shell.points, turn)
        seen = camera.look(points, shell.triangles, cull=False)
        normals = _facing(
            lights.unit(seen.sample(smooth_normals(points, shell.triangles))), seen, points, eye
        )
        strand = seen.sample(shell.strands)
        surface, cover = materials.hair(strand, seen.sample(points), normals, subject, infrared=infrared)
        picture.add(seen, shine(surface, view.light, shadow, eye), cover)
    if sheet is not None and view.mask is not None:
        _add_mask(picture, sheet, turn, camera, view, shadow)

    light = picture.light.reshape(side, side, 3)
    light = light * np.float32(sensor.exposure(light, picture.light[metered], spectrum=view.spectrum))
    return sensor.develop(light, view, rng)


def landmarks(subject: SubjectSpec, view: ViewSpec, model: FaceModel) -> Floats:
    """Returns the model's 68 landmarks in the rendered picture: float32 [68, 2] pixels.

    The first pixel's centre is 0. Hidden landmarks are exact too.
    """
    head = pose(_rest(subject, view, model)[model.landmarks], _rotation(view))
    at, _ = _camera(view).project(head)
    result: Floats = at / np.float32(SUPERSAMPLE) - np.float32(0.5)
    return result


def _facing(normals: Floats, seen: Coverage, points: Floats, eye: Floats) -> Floats:
    away = ((eye - seen.sample(points)) * normals).sum(axis=1) < 0
    result: Floats = np.where(away[:, None], -normals, normals)
    return result


def _add_mask(
    picture: _Picture,
    sheet: MaskSheet,
    turn: Floats,
    camera: _Camera,
    view: ViewSpec,
    shadow: lights.ShadowMap,
) -> None:
    points = pose(sheet.points, turn)
    seen = camera.look(points, sheet.triangles)
    where = seen.sample(sheet.where)
    painted = sheet.look_up(where)
    normals = seen.sample(smooth_normals(points, sheet.triangles))
    infrared = view.spectrum is Spectrum.NIR
    surface = materials.mask(painted, where, seen.sample(points), normals, turn, view)
    shine = lights.lamp if infrared else lights.room
    colour = shine(surface, view.light, shadow, camera.eye)
    picture.add(seen, colour, painted[:, 0], bias=MASK_BIAS)
