"""The gallery that PostgreSQL keeps (pgvector): every replica sees a commit at once, none holds a template.

The database names templates near a probe, in half precision and under a secret transform; each is then
scored in float64 from its sealed template, as in the embedded gallery. So scores and thresholds mean the
same, and who writes rows into the index gets nobody accepted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.gallery.base import Hit
from service.gallery.first_pass import LONGEST, check
from service.gallery.search import best, hits_of, scores_of
from service.sealing.transform import OrthogonalTransform
from service.store.search_index import SearchIndex, Snapshot
from service.store.search_schema import MOST_CANDIDATES

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Scores = NDArray[np.float64]
# So many rows more than asked for show, in most galleries, that no other one belongs to the best.
MORE = 32


def rounding(dimension: int) -> float:
    """How far a score in half precision lies from the one in float64, at most.

    Of two vectors no longer than `LONGEST`, each component is rounded by 2^-11 of itself, or by 2^-25 near
    zero; pgvector adds products in float32, each sum rounded by 2^-24.
    """
    rounded = LONGEST * 2.0**-11 + dimension**0.5 * 2.0**-25
    whole = LONGEST + rounded
    return float(2 * whole * rounded + dimension * 2.0**-24 * whole**2)


class PgvectorGallery:
    """The search vectors of one space. `size` is what the space's follower has counted."""

    def __init__(self, index: SearchIndex, space_id: str, transform: OrthogonalTransform) -> None:
        self._index, self._space_id, self._transform = index, space_id, transform
        self._dimension = transform.dimension
        self._error = rounding(self._dimension)
        self.size = 0

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Stores rows and counts all of them: see `put`. Blocks. Raises as `put`."""
        self.put(ids, vectors)
        self.size = self._index.count(self._space_id)

    def put(self, ids: Ids, vectors: Floats) -> None:
        """Stores rows for templates that the database has; leaves out those that are gone.

        An enrolment stores them itself, in its transaction. Blocks. Raises StoreError, and ValueError for
        what is no template.
        """
        self._check_ids(ids)
        if vectors.shape != (len(ids), self._dimension) or vectors.dtype != np.float32:
            raise ValueError(f"expected float32 [{len(ids)}, {self._dimension}], got {vectors.shape}")
        check(vectors)
        self._index.put(self._space_id, ids.tolist(), self._transform.halves(vectors))

    def remove(self, ids: Ids) -> None:
        """Erases the rows of these templates, whose own rows stay. Blocks. Raises StoreError."""
        self._index.remove(self._space_id, ids.tolist())
        self.size = self._index.count(self._space_id)

    def clear(self) -> None:
        """Erases the rows of the space. Blocks. Raises StoreError."""
        self._index.clear(self._space_id)
        self.size = 0

    def arrange(self) -> None:
        """Makes or drops the HNSW index, as the settings say. Blocks. Raises StoreError."""
        self._index.arrange(self._space_id, self._dimension)

    def search(self, queries: Floats, k: int) -> list[list[Hit]]:
        """Returns up to `k` of the best templates of each query, best first: with `exact` the best, with
        `hnsw` those among the candidates, and the best where more than `MOST_CANDIDATES` are asked for.

        `queries`: unit-norm float32 [m, d]. Blocks. Raises StoreError, and ValueError as the embedded one.
        """
        if queries.ndim != 2 or queries.shape[1] != self._dimension or k < 1:
            raise ValueError(f"expected float32 [m, {self._dimension}] and k >= 1")
        if queries.dtype != np.float32:
            raise ValueError(f"expected float32 queries, got {queries.dtype}")
        check(queries)
        transformed = self._transform.halves(queries)
        with self._index.reading(self._space_id, self._dimension) as rows:
            return [self._one(rows, *pair, k) for pair in zip(queries, transformed, strict=True)]

    def _one(self, rows: Snapshot, query: Floats, asked: NDArray[np.float16], k: int) -> list[Hit]:
        candidates = max(k + MORE, self._index.options.candidates)
        if self._index.options.index == "hnsw" and candidates <= MOST_CANDIDATES:
            ids, _ = rows.near(asked, candidates)
            # Fewer than asked for: the space has no more, or HNSW came to an end before.
            if len(ids) == candidates:
                return self._scored(rows, ids, query, k)
        return self._exact(rows, query, asked, k)

    def _exact(self, rows: Snapshot, query: Floats, asked: NDArray[np.float16], k: int) -> list[Hit]:
        """The `k` best templates that open. Rows beyond those that were looked at score at most as the last
        one and the rounding say."""
        most = k + MORE
        while True:
            ids, near = rows.nearest(asked, most)
            hits = self._scored(rows, ids, query, k)
            if len(ids) < most:
                return hits
            if len(hits) == k:
                if hits[-1].score > near[-1] + self._error:
                    return hits
                ids, _ = rows.within(asked, hits[-1].score - self._error)
                return self._scored(rows, ids, query, k)
            most *= 4  # Templates that do not open took the places of others.

    def _scored(self, rows: Snapshot, ids: Ids, query: Floats, k: int) -> list[Hit]:
        opened, vectors = rows.templates(ids)
        return hits_of(*best(opened, scores_of(vectors, query), k))

    def _check_ids(self, ids: Ids) -> None:
        if ids.ndim != 1 or ids.dtype != np.int64:
            raise ValueError(f"expected int64 ids [n], got {ids.dtype} {ids.shape}")
        if len(np.unique(ids)) != len(ids):
            raise ValueError("an id is given twice")
