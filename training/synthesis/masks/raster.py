"""The inner loop of mask synthesis: a z-buffer over small triangles, compiled by numba."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FAR = np.float32(1e9)


@njit(cache=True, fastmath=True, nogil=True)
def fill(points: Floats, values: Floats, triangles: NDArray[np.int32], depth: Floats, out: Floats) -> None:
    """Draw triangles [n, 3] of `points` [v, 3] into `depth` [h, w] and `out` [h, w, k].

    x and y are pixels, a pixel's centre is a whole number; the smaller z wins. Only triangles that
    are clockwise as the eye sees them (y down) are fronts, the others are left out. `values`
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
