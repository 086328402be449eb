"""Draws and lights small triangles with a z-buffer, compiled by numba."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FAR = np.float32(1e9)


@njit(cache=True, fastmath=True, nogil=True)
def fill(points: Floats, values: Floats, triangles: NDArray[np.int32], depth: Floats, out: Floats) -> None:
    """Draws triangles [n, 3] of `points` [v, 3] into `depth` [h, w] and `out` [h, w, k].

    x and y are pixels, a pixel's centre is a whole number; the smaller z wins. Only triangles that are
    clockwise in the picture (y down) are drawn: they face the camera. `values`
    [v, k] are interpolated; with k = 0 only depth is drawn.
    """
    height, width = depth.shape
    channels = values.shape[1]
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area > -1e-6:
            continue
        left = max(0, int(np.ceil(min(ax, bx, cx))))
        right = min(width - 1, int(np.floor(max(ax, bx, cx))))
        top = max(0, int(np.ceil(min(ay, by, cy))))
        bottom = min(height - 1, int(np.floor(max(ay, by, cy))))
        scale = 1.0 / area
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                wb = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) * scale
                wc = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * scale
                wa = 1.0 - wb - wc
                if wa < -1e-5 or wb < -1e-5 or wc < -1e-5:
                    continue
                z = wa * az + wb * bz + wc * cz
                if z < depth[y, x]:
                    depth[y, x] = z
                    for k in range(channels):
                        out[y, x, k] = wa * values[a, k] + wb * values[b, k] + wc * values[c, k]


@njit(cache=True, fastmath=True, nogil=True)
def normals(points: Floats, triangles: NDArray[np.int32], out: Floats) -> None:
    """Writes area-weighted unit normals of a mesh into `out` [v, 3]; (0, 0, -1) for vertices without area."""
    out[:] = 0.0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        px, py, pz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        qx, qy, qz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
        for v in (a, b, c):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if length > 1e-12:
            for k in range(3):
                out[v, k] /= length
        else:
            out[v, 2] = -1.0


@njit(cache=True, fastmath=True, nogil=True)
def shade(texels: Floats, drawn: Floats, slow: Floats, powers: Floats, lamp: Floats, out: Floats) -> None:
    """Looks up the cloth and lights it, into `out` [h, w, 4], premultiplied by its coverage.

    `texels` [th, tw, 6]: albedo, coverage, slope to the right and downwards; `drawn` [h, w, 3]:
    texture column and row (below 0 where no cloth was drawn) and the harmonics' brightness.
    brightness = lamp[0] x slow^powers[0] x harmonic^powers[1] x relief; lamp[1] lights the relief from
    the right, lamp[2] from below.
    """
    rows, columns = texels.shape[0], texels.shape[1]
    found = np.empty(6, np.float32)
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x, :] = 0.0
            u, v = drawn[y, x, 0], drawn[y, x, 1]
            if u < 0.0 or v < 0.0 or u >= columns - 1 or v >= rows - 1:
                continue
            c, r = int(u), int(v)
            fu, fv = u - c, v - r
            for k in range(6):
                above = texels[r, c, k] * (1 - fu) + texels[r, c + 1, k] * fu
                below = texels[r + 1, c, k] * (1 - fu) + texels[r + 1, c + 1, k] * fu
                found[k] = above * (1 - fv) + below * fv
            cover, su, sv = found[3], found[4], found[5]
            if cover <= 0.0:
                continue
            relief = (1.0 - lamp[1] * su - lamp[2] * sv) / np.sqrt(1.0 + su * su + sv * sv)
            relief = min(1.5, max(0.45, relief))
            light = lamp[0] * relief * slow[y, x] ** powers[0] * max(drawn[y, x, 2], 0.0) ** powers[1]
            for k in range(3):
                out[y, x, k] = found[k] * light * cover
            out[y, x, 3] = cover


@njit(cache=True, fastmath=True, nogil=True)
def lay_under(layer: Floats, cover: NDArray[np.uint8], share: float, colour: Floats) -> None:
    """Puts a colour [3] beneath a premultiplied layer [h, w, 4], with the coverage `cover` [h, w] of 255."""
    for y in range(layer.shape[0]):
        for x in range(layer.shape[1]):
            if cover[y, x] > 0:
                free = share * cover[y, x] / 255.0 * (1.0 - layer[y, x, 3])
                for k in range(3):
                    layer[y, x, k] += free * colour[k]
                layer[y, x, 3] += free


@njit(cache=True, fastmath=True, nogil=True)
def blend(view: Floats, layer: Floats, shadow: Floats) -> None:
    """Lays a premultiplied layer [h, w, 4] over `view` [h, w, 3], after darkening it by `shadow` [h, w]."""
    for y in range(view.shape[0]):
        for x in range(view.shape[1]):
            cover = layer[y, x, 3]
            under = (1.0 - cover) * (1.0 - shadow[y, x] * (1.0 - cover))
            for k in range(3):
                view[y, x, k] = view[y, x, k] * under + layer[y, x, k]
