"""The default gallery: FAISS holds the vectors, one matrix product scores them all.

The search is exact: every template is scored, in float32. FAISS' own IndexFlatIP gives the same
hits; the product over its storage (no copy) takes about half its time for single queries up to at
least 100,000 templates (`python -m benchmarks.gallery`), because BLAS keeps the memory bus busy.
Memory: 4 bytes x dimension + 8 for each template, plus the id map.
"""

from __future__ import annotations

import threading

import faiss
import numpy as np
from numpy.typing import NDArray

from service.gallery.base import Hit

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
FLOAT_BYTES = 4
FIRST_CAPACITY = 1024


class FaissGallery:
    """Exact cosine search. One lock: a search never sees half a change."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._index = faiss.IndexFlatIP(dimension)
        self._ids: Ids = np.empty(FIRST_CAPACITY, np.int64)
        self._row_of: dict[int, int] = {}
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Templates that can be found."""
        return len(self._row_of)

    def add(self, ids: Ids, vectors: Floats) -> None:
        """`ids` int64 [n], `vectors` float32 [n, d] of unit norm; a known id is replaced.

        Raises ValueError for wrong shapes or an id given twice.
        """
        if vectors.shape != (len(ids), self._dimension) or vectors.dtype != np.float32:
            raise ValueError(f"expected float32 [{len(ids)}, {self._dimension}], got {vectors.shape}")
        if len(set(ids.tolist())) != len(ids):
            raise ValueError("an id is given twice")
        with self._lock:
            for template_id in ids.tolist():
                self._drop(template_id)
            first, total = self._index.ntotal, self._index.ntotal + len(ids)
            if total > len(self._ids):
                self._ids = np.resize(self._ids, max(total, 2 * len(self._ids)))
            self._index.add(np.ascontiguousarray(vectors))
            self._ids[first:total] = ids
            self._row_of.update(zip(ids.tolist(), range(first, total), strict=True))

    def remove(self, ids: Ids) -> None:
        """Found no more from now on; unknown ids are ignored."""
        with self._lock:
            for template_id in ids.tolist():
                self._drop(template_id)

    def search(self, queries: Floats, k: int) -> list[list[Hit]]:
        """Float32 [m, d] -> for each query its up to `k` best, best first; exact.

        Raises ValueError for wrong shapes.
        """
        if queries.ndim != 2 or queries.shape[1] != self._dimension or k < 1:
            raise ValueError(f"expected float32 [m, {self._dimension}] and k >= 1")
        with self._lock:
            total = self._index.ntotal
            if total == 0:
                return [[] for _ in queries]
            scores = queries @ self._rows().T
            k = min(k, total)
            # Partition first: sorting 100,000 scores for the best few would cost more than scoring.
            best = np.argpartition(scores, total - k, axis=1)[:, total - k :]
            return [self._hits(row, columns) for row, columns in zip(scores, best, strict=True)]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._index.reset()
            self._row_of.clear()

    def _hits(self, scores: Floats, columns: NDArray[np.intp]) -> list[Hit]:
        ids, values = self._ids[columns], scores[columns]
        # Equal scores in order of ids: the answer must not depend on the order of rows.
        order = np.lexsort((ids, -values))
        return [Hit(int(ids[i]), float(np.clip(values[i], -1.0, 1.0))) for i in order]

    def _rows(self) -> Floats:
        """FAISS' own storage as an array [n, d], without a copy; valid until the next change."""
        total = self._index.ntotal
        flat = faiss.rev_swig_ptr(self._index.get_xb(), total * self._dimension)
        rows: Floats = flat.reshape(total, self._dimension)
        return rows

    def _drop(self, template_id: int) -> None:
        """Move the last row into the one that goes: constant time, no holes."""
        row = self._row_of.pop(template_id, None)
        if row is None:
            return
        last = self._index.ntotal - 1
        if row != last:
            rows = self._rows()
            rows[row] = rows[last]
            moved = int(self._ids[last])
            self._ids[row] = moved
            self._row_of[moved] = row
        self._index.codes.resize(last * self._dimension * FLOAT_BYTES)
        self._index.ntotal = last
