"""The default gallery: FAISS holds the vectors, one matrix product scores them all.

Guarantee: exact. Every template is scored in float32, and all that come within that product's
rounding error of the k-th place are scored again in float64, so the k best are the k best by cosine,
and a pair's score and place depend neither on the batch nor on the order of rows. Equal scores stand
in order of ids.

Measured with two CPU threads, 512 dimensions, best of 40, in milliseconds (10,000 / 100,000 templates):

    scored by                             one query      eight at once
    product over the storage, no copy     0.39 / 6.9     1.6 / 25      chosen
    IndexFlatIP.search                    0.78 / 13      3.1 / 53
    fp16 quantiser, in two halves         0.50 / 4.5     2.0 / 33      preselection only
    8-bit quantiser, in two halves        0.50 / 2.8     2.3 / 22      preselection only

The quantisers gain a few milliseconds for one query from 100,000 templates on, need the float32
rows besides their codes to be exact, and the 8-bit one needs training; they are not worth that here.

Memory: 4 bytes x dimension + 8 for each template, plus its entry in the id map; up to twice that
behind growth, up to four times behind removals.
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
# Capacity is given back once less than this share of it is in use.
SPARSE = 0.25
# Bounds what a search takes besides the gallery: queries x templates, and rows in float64.
QUERIES_AT_ONCE = 32
ROWS_AT_ONCE = 1024
# Unit roundoff of float32, with room for norms that are off one by `faces.types`' tolerance.
ROUNDOFF = 2.0**-24 * 1.01


class FaissGallery:
    """Exact cosine search. One lock: a search never sees half a change.

    Searches wait for each other too; each one's product already uses all of BLAS' threads.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        # Twice the bound of Higham, Accuracy and Stability of Numerical Algorithms (2002), eq. 3.5:
        # a dot product of n terms of unit vectors is off by n u at most, here on both sides.
        self._margin = 2 * dimension * ROUNDOFF
        self._lock = threading.Lock()
        self._start_empty()

    def _start_empty(self) -> None:
        self._index = faiss.IndexFlatIP(self._dimension)
        self._ids: Ids = np.empty(FIRST_CAPACITY, np.int64)
        self._row_of: dict[int, int] = {}

    @property
    def size(self) -> int:
        """Templates that can be found."""
        return len(self._row_of)

    def add(self, ids: Ids, vectors: Floats) -> None:
        """`ids` int64 [n], `vectors` float32 [n, d] of unit norm; a known id is replaced.

        Amortised constant time for each. Raises ValueError for wrong shapes or an id given twice.
        """
        if vectors.shape != (len(ids), self._dimension) or vectors.dtype != np.float32:
            raise ValueError(f"expected float32 [{len(ids)}, {self._dimension}], got {vectors.shape}")
        given = ids.tolist()
        if len(set(given)) != len(given):
            raise ValueError("an id is given twice")
        with self._lock:
            for template_id in given:
                self._drop(template_id)
            first, total = self._index.ntotal, self._index.ntotal + len(given)
            if total > len(self._ids):
                self._ids = np.resize(self._ids, max(total, 2 * len(self._ids)))
            self._index.add(np.ascontiguousarray(vectors))
            self._ids[first:total] = ids
            self._row_of.update(zip(given, range(first, total), strict=True))

    def remove(self, ids: Ids) -> None:
        """Found no more from now on; unknown ids are ignored. Amortised constant time for each."""
        with self._lock:
            for template_id in ids.tolist():
                self._drop(template_id)
            self._compact()

    def search(self, queries: Floats, k: int) -> list[list[Hit]]:
        """Float32 [m, d] of unit norm -> for each query its up to `k` best, best first; exact.

        Raises ValueError for wrong shapes.
        """
        if queries.ndim != 2 or queries.shape[1] != self._dimension or k < 1:
            raise ValueError(f"expected float32 [m, {self._dimension}] and k >= 1")
        if queries.dtype != np.float32:
            raise ValueError(f"expected float32 queries, got {queries.dtype}")
        with self._lock:
            if not self._row_of:
                return [[] for _ in queries]
            found: list[list[Hit]] = []
            for start in range(0, len(queries), QUERIES_AT_ONCE):
                part = queries[start : start + QUERIES_AT_ONCE]
                found += [self._best(q, row, k) for q, row in zip(part, part @ self._rows().T, strict=True)]
            return found

    def clear(self) -> None:
        """Forget everything, and give the memory back."""
        with self._lock:
            self._start_empty()

    def _best(self, query: Floats, scores: Floats, k: int) -> list[Hit]:
        """`scores` float32 [n]: who may be among the best k by them is scored again and sorted."""
        near: NDArray[np.intp] = np.arange(len(scores))
        if k < len(scores):
            # Partition first: sorting 100,000 scores for the best few would cost more than scoring.
            kth = np.partition(scores, len(scores) - k)[len(scores) - k]
            near = np.flatnonzero(scores >= kth - self._margin)
        ids, values = self._ids[near], self._rescore(query, near)
        order = np.lexsort((ids, -values))[:k]
        return [Hit(int(ids[i]), float(np.clip(values[i], -1.0, 1.0))) for i in order]

    def _rescore(self, query: Floats, near: NDArray[np.intp]) -> NDArray[np.float64]:
        """float64 [n]. Not BLAS: its order of summing differs from row to row."""
        rows, exact = self._rows(), query.astype(np.float64)
        parts = [
            np.einsum("nd,d->n", rows[near[start : start + ROWS_AT_ONCE]].astype(np.float64), exact)
            for start in range(0, len(near), ROWS_AT_ONCE)
        ]
        return np.concatenate(parts)

    def _rows(self) -> Floats:
        """FAISS' own storage as an array [n, d], without a copy; valid until the next change."""
        total = self._index.ntotal
        flat = faiss.rev_swig_ptr(self._index.get_xb(), total * self._dimension)
        rows: Floats = flat.reshape(total, self._dimension)
        return rows

    def _drop(self, template_id: int) -> None:
        """Move the last row into the one that goes: constant time, no holes, nothing dead."""
        row = self._row_of.pop(template_id, None)
        if row is None:
            return
        last = self._index.ntotal - 1
        rows = self._rows()
        if row != last:
            rows[row] = rows[last]
            moved = int(self._ids[last])
            self._ids[row] = moved
            self._row_of[moved] = row
        # The storage stays allocated behind its end: an erased template must not stay in it.
        rows[last] = 0.0
        self._index.codes.resize(last * self._dimension * FLOAT_BYTES)
        self._index.ntotal = last

    def _compact(self) -> None:
        total = self._index.ntotal
        if len(self._ids) <= FIRST_CAPACITY or total >= SPARSE * len(self._ids):
            return
        smaller = faiss.IndexFlatIP(self._dimension)
        if total:
            smaller.add(self._rows())
        self._index = smaller
        self._ids = np.resize(self._ids[:total], max(FIRST_CAPACITY, 2 * total))
