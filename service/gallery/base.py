"""Defines the gallery protocol. A gallery knows template ids and scores, never subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Hit:
    """One template and its cosine similarity to a query."""

    template_id: int
    score: float


class Gallery(Protocol):
    """A cache of one embedding space's templates that can be rebuilt from the store at any time."""

    @property
    def size(self) -> int:
        """Number of searchable templates."""

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Adds `ids` int64 [n] with unit-norm `vectors` float32 [n, d]; replaces known ids."""

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Removes the ids from all later searches; ignores unknown ids."""

    def search(self, queries: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """Returns up to `k` best templates of each query, best first. `queries`: float32 [m, d]."""

    def clear(self) -> None:
        """Removes every template."""
