"""What every gallery can do. It knows template ids and scores, never subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Hit:
    """One template and its cosine similarity to the query."""

    template_id: int
    score: float


class Gallery(Protocol):
    """A cache of one embedding space's templates that can be rebuilt from the store at any time."""

    @property
    def size(self) -> int:
        """Templates that can be found."""

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """`ids` int64 [n], `vectors` float32 [n, d] of unit norm. A known id is replaced."""

    def remove(self, ids: NDArray[np.int64]) -> None:
        """The ids are found no more from now on; unknown ones are ignored."""

    def search(self, queries: NDArray[np.float32], k: int) -> list[list[Hit]]:
        """Float32 [m, d] -> for each query its up to `k` best templates, best first."""

    def clear(self) -> None:
        """Forget everything."""
