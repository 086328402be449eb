"""What tests of every gallery use: a gallery that scores all, and sets of rows."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.gallery.base import Hit
from tests.service.gallery.vectors import Floats, few_values, nudged, spread

SCORE_TOLERANCE = 1e-12
DIMENSION = 16
IDS = st.integers(-3, 30)
# Few seeds, so that duplicates and ties are the rule; `nudged` differs by less than float32 scores tell.
VECTORS = st.one_of(
    st.integers(0, 5).map(lambda seed: spread(seed, DIMENSION)),
    st.integers(0, 9).map(lambda seed: few_values(seed, DIMENSION)),
    st.tuples(st.integers(0, 2), st.integers(0, 30)).map(lambda pair: nudged(*pair, DIMENSION)),
)


class Oracle:
    """The expected gallery: exactly rounded sums over a plain dictionary."""

    def __init__(self) -> None:
        self.vectors: dict[int, Floats] = {}

    def search(self, query: Floats, k: int) -> list[tuple[int, float]]:
        exact = query.astype(np.float64)
        scored = [(i, math.fsum(v.astype(np.float64) * exact)) for i, v in self.vectors.items()]
        return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:k]


def as_ids(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def agree(found: list[Hit], expected: list[tuple[int, float]]) -> None:
    assert [hit.template_id for hit in found] == [i for i, _ in expected]
    for hit, (_, score) in zip(found, expected, strict=True):
        assert abs(hit.score - max(-1.0, min(1.0, score))) <= SCORE_TOLERANCE


def brute_force(rows: Floats, query: Floats, k: int) -> list[tuple[int, float]]:
    scores = rows.astype(np.float64) @ query.astype(np.float64)
    order = np.lexsort((np.arange(len(rows)), -scores))[:k]
    return [(int(i), float(scores[i])) for i in order]


def unit(rows: NDArray[np.float64]) -> Floats:
    made: Floats = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return made


def gallery_rows(kind: str, count: int, dimension: int) -> Floats:
    rng = np.random.default_rng(5)
    match kind:
        case "random":
            return unit(rng.standard_normal((count, dimension)))
        case "clusters":
            centres = rng.standard_normal((40, dimension))
            return unit(centres[rng.integers(0, 40, count)] + 0.15 * rng.standard_normal((count, dimension)))
        case "near ties":
            return unit(rng.standard_normal(dimension) + 1e-6 * rng.standard_normal((count, dimension)))
        case "duplicates":
            return unit(rng.standard_normal((9, dimension)))[rng.integers(0, 9, count)]
        case _:
            # One number holds nearly all, so that the codes of the others are coarse.
            return unit(rng.standard_normal((count, dimension)) * np.r_[300.0, np.ones(dimension - 1)])
