"""Bounds every score of a search from 8-bit integers, which are a quarter of the bytes of float32.

A row x [d] is kept as `scale * codes` with int8 codes, and `radius` is at least |x - scale * codes|. A query
q is taken as the sum q' of two such terms, so that hardly anything of it is lost. Cauchy and Schwarz say

    |x.q - (scale * codes).q'|  <=  radius |q| + |scale * codes| |q - q'|

so every score lies between two numbers that need no float32 row. NumKong multiplies the integers, with the
vector instructions that the CPU has and the same sums on every CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]
LEVELS = 127
# Sums of so many products of codes are exact in float32.
LARGEST_DIMENSION = 2**24 // LEVELS**2
# Above all rounding of float32 in what follows: fewer than ten operations on numbers below 1.1, 2^-24 each.
SLACK = np.float32(2e-6)
# A row or query that is longer breaks that; one that is not finite has no bounds, and takes those of others.
LONGEST = 1.01


@dataclass(frozen=True, slots=True, eq=False)
class CodedRows:
    """`codes` int8 [n, d], `scale` and `radius` float32 [n], `longest`: at least every |scale * codes|."""

    codes: Codes
    scale: Floats
    radius: Floats
    longest: float


def check(vectors: Floats) -> None:
    """Raises ValueError if bounds do not hold for one of `vectors`, float32 [n, d]."""
    if not (np.einsum("nd,nd->n", vectors, vectors) <= LONGEST**2).all():
        raise ValueError("a vector is longer than 1 or not finite")


def coded(rows: Floats) -> CodedRows:
    """Codes of `rows`, float32 [n, d]."""
    codes, scale = _codes(rows)
    taken = codes * scale[:, None]
    radius = np.linalg.norm(rows - taken, axis=1)
    longest = np.linalg.norm(taken, axis=1).max(initial=0.0)
    return CodedRows(codes, scale, _above(radius), float(_above(longest)))


def _codes(rows: Floats) -> tuple[Codes, Floats]:
    scale = np.abs(rows).max(axis=1, initial=0.0) / np.float32(LEVELS)
    divisor = np.where(scale > 0, scale, np.float32(1))
    # A scale that is too small for its division keeps codes within their range, and `radius` tells the rest.
    codes = np.clip(np.rint(rows / divisor[:, None]), -LEVELS, LEVELS)
    return codes.astype(np.int8), scale


def _above(norms: NDArray[np.float32] | np.float32) -> Floats:
    """Norms with room for the rounding of their own computation."""
    return np.asarray(norms * np.float32(1 + 1e-4) + SLACK, np.float32)


class CodedQueries:
    """`queries`, float32 [m, d], as two terms of codes each."""

    def __init__(self, queries: Floats) -> None:
        first, self._first_scale = _codes(queries)
        rest = queries - first * self._first_scale[:, None]
        second, self._second_scale = _codes(rest)
        lost = np.linalg.norm(rest - second * self._second_scale[:, None], axis=1)
        self._count = len(queries)
        self._lost = _above(lost)  # [m]
        self._length = _above(np.linalg.norm(queries, axis=1))  # [m]
        # Concatenation keeps the order of columns first, which NumKong refuses.
        terms = np.ascontiguousarray(np.concatenate([first, second]))
        self._packed: Any = numkong.dots_pack(terms, dtype="int8")

    def bounds(self, rows: CodedRows) -> tuple[Floats, Floats]:
        """The lower bound of every score, float32 [n, m], and how far above it the upper one lies [n, m]."""
        sums = np.asarray(numkong.dots_packed(rows.codes, self._packed)).astype(np.float32)  # [n, 2 m]
        scores = sums[:, : self._count] * self._first_scale
        scores += sums[:, self._count :] * self._second_scale
        scores *= rows.scale[:, None]
        margin = rows.radius[:, None] * self._length
        margin += np.float32(rows.longest) * self._lost + SLACK
        scores -= margin
        margin *= 2
        # The upper bound is computed from these two, and rounds once more.
        margin += SLACK
        return scores, margin
