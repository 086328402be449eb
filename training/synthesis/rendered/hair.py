"""Models hair: a shell grown out of the scalp, cut to strands at its edge, and a curtain for long hair.

Positions are those of the neutral model (`neutral`) or of the subject's unposed head (`head`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthesis.rendered.model import FaceModel, Floats, Part, Triangles, smooth_normals
from training.synthesis.rendered.spec import Hair, HairStyle
from training.synthesis.rendered.tables import noise_table, remap

CROWN = np.array([0.0, 14.0, -2.5], np.float32)
FULLNESS = {
    HairStyle.BALD: 0.0,
    HairStyle.BUZZ: 0.12,
    HairStyle.SHORT: 1.0,
    HairStyle.FRINGE: 1.0,
    HairStyle.AFRO: 2.6,
    HairStyle.LONG: 0.9,
}


@dataclass(frozen=True, slots=True, eq=False)
class Shell:
    """A surface of hair. `points` [v, 3] unposed; `strands` [v, 4]: across, along, cut (positive
    inside the hair, centimetres), depth of the root shadow in [0, 1]."""

    points: Floats
    triangles: Triangles
    strands: Floats


def cover(neutral: Floats, hair: Hair) -> Floats:
    """Returns the signed distance [n], about in centimetres, to the hairline; positive on the scalp."""
    x, y, z = neutral[:, 0], neutral[:, 1], neutral[:, 2]
    side = np.abs(x)
    front = (3.5 + 0.75 * np.maximum(y - 4.3 - hair.hairline, 0.0) - z) * 0.8
    front -= hair.recession * np.exp(-0.5 * ((side - 4.2) / 1.4) ** 2) * (y > 7)
    if hair.style is HairStyle.FRINGE:
        comb = 3.1 * np.exp(-0.5 * ((x - hair.parting * 0.5) / 4.2) ** 4)
        front += np.where(y > 6.6, comb, 0.0) * np.clip((y - 6.6) / 0.8, 0.0, 1.0)
    if hair.style is HairStyle.SHORT:
        front += 0.35 * np.tanh((x - hair.parting) * 1.5) * (y > 9)
    low = np.interp(z, [-3.0, 0.5, 1.5, 3.5], [-3.0, 0.5, 2.2, 2.8])
    field = np.minimum(front, y - low)
    ear = (side > 7.45) & (y < 5.6) & (z > -2.0)
    if hair.style is HairStyle.BALD:
        field = np.full_like(field, -5.0)
    result: Floats = np.where(ear, -2.5, field).astype(np.float32)
    return result


def _strands(neutral: Floats) -> tuple[Floats, Floats]:
    """Returns coordinates across and along the direction of growth, away from the crown, in centimetres."""
    offset = neutral - CROWN
    across = np.arctan2(offset[:, 0], offset[:, 2]) * 7.0
    along = np.linalg.norm(offset, axis=1)
    return across.astype(np.float32), along.astype(np.float32)


def scalp_shell(model: FaceModel, head: Floats, hair: Hair, seed: int) -> Shell | None:
    """Returns the scalp, lifted along its normals by the hair's volume; None for a bald head."""
    if hair.style is HairStyle.BALD:
        return None
    inside = cover(model.neutral, hair)
    skin = model.triangles[model.parts == Part.SKIN]
    skin = skin[(skin < 11248).all(axis=1)]
    triangles = skin[(inside[skin] > -1.2).any(axis=1)]
    normals = smooth_normals(head, skin)
    across, along = _strands(model.neutral)
    table = noise_table(seed + 11, side=256, sigma=6.0)
    lumps = remap(table, across * 6.0, along * 6.0, wrap=True)[:, 0]
    full = FULLNESS[hair.style] * hair.volume
    rise = np.clip((inside - 0.1) / (2.2 if full > 0.5 else 1.0), 0.0, 1.0) ** 0.75
    y = model.neutral[:, 1]
    crown = np.clip((y - 5.5) / 5.0, 0.35 if hair.style is HairStyle.AFRO else 0.2, 1.0)
    lift = 0.06 + full * rise * crown * (1.0 + 0.12 * lumps)
    if hair.style is HairStyle.SHORT:
        lift += 0.5 * full * rise * np.exp(-0.5 * ((model.neutral[:, 0] - hair.parting) / 3.0) ** 2)
    if hair.style is HairStyle.FRINGE:
        lift += 0.25 * (inside > -0.5)
    points = (head + normals * lift[:, None]).astype(np.float32)
    strands = np.stack([across, along, inside, np.clip(1 - rise, 0, 1)], axis=1)
    return Shell(points, triangles, strands.astype(np.float32))


def curtain(head: Floats, model: FaceModel, hair: Hair, seed: int) -> Shell | None:
    """Returns long hair as a sheet from temple to temple round the back; None for other styles."""
    if hair.style is not HairStyle.LONG:
        return None
    marks = head[model.landmarks]
    ears = head[(np.abs(head[:, 1] - 1.5) < 3.5) & (head[:, 2] > -2.0)]
    half_width = float(np.abs(ears[:, 0]).max()) + 0.15
    chin = float(marks[8, 1])
    columns, rows = 161, 81
    angle = np.linspace(-1.0, 1.0, columns, dtype=np.float32)
    azimuth = np.radians(180.0 + angle * 128.0)
    down = np.linspace(0.0, 1.0, rows, dtype=np.float32)
    top, bottom = 10.5, chin - hair.length
    y = top + (bottom - top) * down
    profile = np.interp(y, [bottom, chin, 0.0, 4.0, 7.5, 9.0, 10.5], [1.02, 1.0, 1.03, 1.0, 0.9, 0.8, 0.66])
    table = noise_table(seed + 12, side=256, sigma=9.0)
    a, d = np.meshgrid(azimuth, y)
    wave = remap(
        table, (a * 40.0).ravel().astype(np.float32), (d * 3.0).ravel().astype(np.float32), wrap=True
    )[:, 0].reshape(a.shape)
    swell = profile[:, None] + 0.025 * wave * down[:, None]
    # The front edges fall forward over the shoulders as they hang.
    forward = np.clip(np.abs(angle)[None, :] - 0.7, 0, 1) * 4.0 * down[:, None] ** 2
    x = half_width * np.sin(a) * swell
    # Behind the ears it is as deep as the skull; in front of them it lies on the cheek.
    deep = np.where(np.cos(a) > 0, 7.0, 9.8)
    z = 0.4 + deep * np.cos(a) * swell + forward
    points = np.stack([x, np.broadcast_to(d, x.shape), z], axis=-1).reshape(-1, 3)
    edge = (1.0 - np.abs(angle))[None, :] * 14.0 + 0.25 + np.zeros_like(d)
    tips = (1.0 - down)[:, None] * (top - bottom) * 0.6 + np.zeros_like(d)
    cut = np.minimum(edge, tips) + 0.2
    shade = np.clip(1.0 - edge / 3.0, 0.0, 1.0) * 0.3
    strands = np.stack([a * 7.0, np.broadcast_to(-d, a.shape), cut, shade], axis=-1)
    index = np.arange(columns * rows, dtype=np.int32).reshape(rows, columns)
    p, q, r, s = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    quads = np.stack([p, q, r, s], axis=-1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return Shell(points.astype(np.float32), triangles, strands.reshape(-1, 4).astype(np.float32))
