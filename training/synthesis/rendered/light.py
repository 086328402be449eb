"""Lights surfaces: key, fill and ambient light in the visible, one frontal lamp at 850 nm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthesis.rendered.model import Floats, Triangles
from training.synthesis.rendered.raster import rasterise
from training.synthesis.rendered.spec import Light

SHADOW_SIDE_PX = 512
SHADOW_SPAN_CM = 44.0
SHADOW_BIAS_CM = 0.28
SHADOW_TAPS = 16
WRAP = np.array([0.22, 0.10, 0.07], np.float32)
SKY, GROUND = 1.0, 0.55


def direction(azimuth: float, elevation: float) -> Floats:
    """Returns the unit vector towards a light, from degrees to the picture's right and upwards."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)], np.float32)


def unit(vectors: Floats) -> Floats:
    """Scales rows [n, 3] to length one."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: Floats = (vectors / np.maximum(length, 1e-9)).astype(np.float32)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class ShadowMap:
    """Depth [side, side] seen from the key light, and the frame of that view."""

    near: Floats
    frame: Floats
    offset: float

    def lit(self, points: Floats, radius_cm: float) -> Floats:
        """Returns the share in [0, 1] of the key light that reaches points [n, 3], with a soft edge."""
        at = points @ self.frame.T
        step = SHADOW_SIDE_PX / SHADOW_SPAN_CM
        depth = at[:, 2] + self.offset + SHADOW_BIAS_CM
        total = np.zeros(len(points), np.float32)
        turn = np.arange(SHADOW_TAPS) * 2.399963
        reach = np.sqrt((np.arange(SHADOW_TAPS) + 0.5) / SHADOW_TAPS) * radius_cm
        for angle, r in zip(turn, reach, strict=True):
            x = (at[:, 0] + r * np.cos(angle)) * step + SHADOW_SIDE_PX / 2
            y = -(at[:, 1] + r * np.sin(angle)) * step + SHADOW_SIDE_PX / 2
            ix = np.clip(x.astype(np.int64), 0, SHADOW_SIDE_PX - 1)
            iy = np.clip(y.astype(np.int64), 0, SHADOW_SIDE_PX - 1)
            total += self.near[iy, ix] <= depth
        result: Floats = total / np.float32(SHADOW_TAPS)
        return result


def shadow_map(meshes: list[tuple[Floats, Triangles]], towards: Floats) -> ShadowMap:
    """Renders the depth of all meshes (posed vertices [v, 3], triangles) seen from the light."""
    right = unit(np.cross(np.array([0.0, 1.0, 0.0], np.float32), towards)[None])[0]
    up = np.cross(towards, right)
    frame = np.stack([right, up, towards]).astype(np.float32)
    offset = 60.0
    near = np.zeros((SHADOW_SIDE_PX, SHADOW_SIDE_PX), np.float32)
    step = SHADOW_SIDE_PX / SHADOW_SPAN_CM
    for points, triangles in meshes:
        at = points @ frame.T
        xy = np.stack([at[:, 0], -at[:, 1]], axis=1) * step + SHADOW_SIDE_PX / 2
        seen = rasterise(
            xy.astype(np.float32),
            (at[:, 2] + offset).astype(np.float32),
            triangles,
            size=near.shape,
            cull=False,
        )
        near = np.maximum(near, seen.near)
    return ShadowMap(near, frame, offset)


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A lit surface, a row for each pixel: positions, normals, albedo [n, 3]; `gloss` and
    `sharpness` of the highlight, `open`, the visible share of the surroundings [n];
    `soft` is how much light bleeds round edges (skin 1, cloth 0)."""

    points: Floats
    normals: Floats
    albedo: Floats
    gloss: Floats
    sharpness: Floats
    open: Floats
    soft: float


def _highlight(surface: Surface, towards: Floats, view: Floats) -> Floats:
    half = unit(towards + view)
    power = surface.sharpness
    level = np.clip((surface.normals * half).sum(axis=1), 0.0, 1.0) ** power
    facing = np.clip((view * half).sum(axis=1), 0.0, 1.0)
    fresnel = 0.04 + 0.96 * (1.0 - facing) ** 5
    result: Floats = surface.gloss * level * fresnel * (power + 8.0) / 25.0
    return result


def room(surface: Surface, light: Light, shadow: ShadowMap, camera: Floats) -> Floats:
    """Returns linear radiance [n, 3] under key, fill and ambient light."""
    view = unit(camera - surface.points)
    key = direction(light.azimuth, light.elevation)
    fill = direction(-0.9 * light.azimuth, 8.0)
    lit = shadow.lit(surface.points, 0.55)[:, None]
    wrap = WRAP * surface.soft
    cosine = (surface.normals @ key)[:, None]
    diffuse = np.clip((cosine + wrap) / (1.0 + wrap), 0.0, 1.0) * (lit + wrap * (1 - lit) * 0.6)
    tint = np.asarray(light.tint, np.float32)
    total = light.key * tint * diffuse
    open_ = surface.open[:, None]
    total = total + light.fill * np.clip(surface.normals @ fill, 0, 1)[:, None] * open_
    dome = GROUND + (SKY - GROUND) * (0.5 + 0.5 * surface.normals[:, 1:2])
    total = total + light.ambient * dome * open_ ** (1.0 - 0.3 * wrap)
    shine = _highlight(surface, np.broadcast_to(key, view.shape), view) * lit[:, 0] * light.key
    shine += _highlight(surface, np.broadcast_to(fill, view.shape), view) * light.fill * 0.5
    result: Floats = (surface.albedo * total + shine[:, None]).astype(np.float32)
    return result


def lamp(surface: Surface, light: Light, shadow: ShadowMap, camera: Floats) -> Floats:
    """Returns linear radiance [n, 3] under a lamp beside the lens.

    The light falls off with the squared distance, 1 at the origin, and to the sides of a cone.
    """
    distance = float(camera[2])
    place = camera + np.array(
        [
            np.tan(np.radians(light.azimuth)) * distance,
            np.tan(np.radians(light.elevation)) * distance,
            0.0,
        ],
        np.float32,
    )
    to_lamp = place - surface.points
    far = np.linalg.norm(to_lamp, axis=1)
    towards = unit(to_lamp)
    view = unit(camera - surface.points)
    lit = shadow.lit(surface.points, 0.35)
    cone = np.clip(towards[:, 2], 0.0, 1.0) ** 12
    strength = light.key * ((distance - 9.0) / far) ** 2 * cone * (0.15 + 0.85 * lit)
    wrap = 0.18 * surface.soft
    cosine = np.clip(((surface.normals * towards).sum(axis=1) + wrap) / (1 + wrap), 0.0, 1.0)
    total = strength * cosine * surface.open**0.7 + light.ambient * surface.open
    shine = _highlight(surface, towards, view) * strength
    result: Floats = (surface.albedo * total[:, None] + shine[:, None]).astype(np.float32)
    return result


def openness(points: Floats, normals: Floats, triangles: Triangles, *, rays: int = 40) -> Floats:
    """Returns ambient occlusion [v]: the cosine-weighted share of directions that leave the head."""
    k = np.arange(rays)
    y = 1.0 - (2.0 * k + 1.0) / rays
    turn = k * 2.399963
    around = np.sqrt(1.0 - y * y)
    total = np.zeros(len(points))
    weight = np.full(len(points), 1e-6)
    for towards in np.stack([around * np.sin(turn), y, around * np.cos(turn)], 1).astype(np.float32):
        cosine = np.clip(normals @ towards, 0.0, 1.0)
        total += cosine * shadow_map([(points, triangles)], towards).lit(points, 0.15)
        weight += cosine
    result: Floats = np.clip(total / weight, 0.05, 1.0).astype(np.float32)
    return result
