"""Fits thin-plate splines in the plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def _kernel(squared: NDArray[np.floating]) -> NDArray[np.floating]:
    """Returns r^2 log r^2 (Bookstein 1989, eq. 2), 0 at r = 0."""
    kernel: NDArray[np.floating] = squared * np.log(np.maximum(squared, 1e-12))
    return kernel


class ThinPlate:
    """The smoothest map of the plane that takes `source` [n, 2] to `target` [n, 2].

    Raises ValueError for fewer than three points, or points that coincide or lie on one line.
    """

    def __init__(self, source: NDArray[np.floating], target: NDArray[np.floating]) -> None:
        points, wanted = np.asarray(source, np.float64), np.asarray(target, np.float64)
        if points.shape != wanted.shape or points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise ValueError("a thin-plate spline needs at least three pairs of points [n, 2]")
        # Without unit size, the rows of the logarithm would dwarf the affine rows.
        self._centre, self._size = points.mean(axis=0), float(points.std()) or 1.0
        self._points = (points - self._centre) / self._size
        count = len(points)
        system = np.zeros((count + 3, count + 3))
        gap = self._points[:, None] - self._points[None]
        system[:count, :count] = _kernel((gap**2).sum(axis=2))
        system[:count, count] = system[count, :count] = 1.0
        system[:count, count + 1 :] = self._points
        system[count + 1 :, :count] = self._points.T
        right = np.zeros((count + 3, 2))
        right[:count] = wanted
        if np.linalg.cond(system) > 1e12:
            raise ValueError("the points fall together or on one line")
        self._weights = np.linalg.solve(system, right)

    def __call__(self, at: NDArray[np.floating]) -> Floats:
        """Maps points [..., 2] to float32 [..., 2]."""
        flat = (np.asarray(at, np.float32).reshape(-1, 2) - self._centre) / self._size
        squared = ((flat[:, None] - self._points[None]) ** 2).sum(axis=2)
        count = len(self._points)
        affine = self._weights[count] + flat @ self._weights[count + 1 :]
        moved = _kernel(squared) @ self._weights[:count] + affine
        result: Floats = moved.reshape(np.shape(at)).astype(np.float32)
        return result
