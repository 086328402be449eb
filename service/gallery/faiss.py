"""Implements the default gallery: FAISS holds the vectors, one matrix product scores them all.

The search is exact. It scores every template in float32, then scores those within the rounding error
of the k-th place again in float64. The k results are therefore the k best by cosine, and the score and
rank of a pair depend neither on the batch nor on the order of rows. Ties are sorted by id.

Measured with two CPU threads, 512 dimensions, best of 40, in milliseconds (10,000 / 100,000 templates):

    scored by                             one query      eight at once
    product over the storage, no copy     0.39 / 6.9     1.6 / 25      chosen
    IndexFlatIP.search                    0.78 / 13      3.1 / 53
    fp16 quantiser, in two halves         0.50 / 4.5     2.0 / 33      preselection only
    8-bit quantiser, in two halves        0.50 / 2.8     2.3 / 22      preselection only

The quantisers save a few milliseconds for one query from 100,000 templates on. They still need the
float32 rows to be exact, and the 8-bit one needs training, so we do not use them.

Memory: 4 bytes x dimension + 8 for each template, plus its entry in the id map; up to twice that
after growth, up to four times that after removals.
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
# The gallery releases capacity once it uses less than this share of it.
SPARSE = 0.25
# Limits on the memory of a search: queries x templates, and rows in float64.
QUERIES_AT_ONCE = 32
ROWS_AT_ONCE = 1024
# Unit roundoff of float32, with room for norms that differ from one by the tolerance of `faces.types`.
ROUNDOFF = 2.0**-24 * 1.01


class FaissGallery:
    """Exact cosine search. One lock ensures that no search sees half a change.

    Searches also wait for each other: the product of one already uses all threads of BLAS.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        # Twice the bound of Higham, Accuracy and Stability of Numerical Algorithms (2002), eq. 3.5:
        # the error of a dot product of n terms of unit vectors is at most n u, here on both sides.
        self._margin = 2 * dimension * ROUNDOFF
        self._lock = threading.Lock()
        self._start_empty()

    def _start_empty(self) -> None:
        self._index = faiss.IndexFlatIP(self._dimension)
        self._ids: Ids = np.empty(FIRST_CAPACITY, np.int64)
        self._row_of: dict[int, int] = {}

    @property
    def size(self) -> int:
        """Number of searchable templates."""
        return len(self._row_of)

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Adds `ids` int64 [n] with unit-norm `vectors` float32 [n, d]; replaces known ids.

        Takes amortised constant time for each id. Raises ValueError if a shape or the type is wrong, or
        an id is given twice.
        """
        if vectors.shape != (len(ids), self._dimension) or vectors.dtype != np.float32:
            raise ValueError(f"expected float32 [{len(ids)}, {self._dimension}], got {vectors.shape}")
        given = ids.tolist()
        if len(set(given)) != len(given):
            raise ValueError("an id is given twice")
        with self._lock:
            for template_id in given:
                self._remove_row(template_id)
            first, total = self._index.ntotal, self._index.ntotal + len(given)
            if total > len(self._ids):
                self._ids = np.resize(self._ids, max(total, 2 * len(self._ids)))
            self._index.add(np.ascontiguousarray(vectors))
            self._ids[first:total] = ids
            self._row_of.update(zip(given, range(first, total), strict=True))

    def remove(self, ids: Ids) -> None:
        """Removes ids from all later searches in amortised constant time each; ignores unknown ids."""
        with self._lock:
            for template_id in ids.tolist():
                self._remove_row(template_id)
            self._shrink()

    def search(self, queries: Floats, k: int) -> list[list[Hit]]:
        """Returns exactly the up to `k` best templates of each query, best first.

        `queries`: unit-norm float32 [m, d]. Raises ValueError if the shape or the type is wrong.
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
                found += [self._top_k(q, row, k) for q, row in zip(part, part @ self._rows().T, strict=True)]
            return found

    def clear(self) -> None:
        """Removes every template and releases the memory."""
        with self._lock:
            self._start_empty()

    def _top_k(self, query: Floats, scores: Floats, k: int) -> list[Hit]:
        """Rescores and sorts the templates that may be among the best k. `scores`: float32 [n]."""
        near: NDArray[np.intp] = np.arange(len(scores))
        if k < len(scores):
            # Partition first: sorting 100,000 scores for the best few costs more than scoring them.
            kth = np.partition(scores, len(scores) - k)[len(scores) - k]
            near = np.flatnonzero(scores >= kth - self._margin)
        ids, values = self._ids[near], self._rescore(query, near)
        order = np.lexsort((ids, -values))[:k]
        return [Hit(int(ids[i]), float(np.clip(values[i], -1.0, 1.0))) for i in order]

    def _rescore(self, query: Floats, near: NDArray[np.intp]) -> NDArray[np.float64]:
        """Scores rows in float64 [n]. Avoids BLAS, whose order of summation differs from row to row."""
        rows, exact = self._rows(), query.astype(np.float64)
        parts = [
            np.einsum("nd,d->n", rows[near[start : start + ROWS_AT_ONCE]].astype(np.float64), exact)
            for start in range(0, len(near), ROWS_AT_ONCE)
        ]
        return np.concatenate(parts)

    def _rows(self) -> Floats:
        """Returns FAISS' own storage as an array [n, d] without a copy; valid until the next change."""
        total = self._index.ntotal
        flat = faiss.rev_swig_ptr(self._index.get_xb(), total * self._dimension)
        rows: Floats = flat.reshape(total, self._dimension)
        return rows

    def _remove_row(self, template_id: int) -> None:
        """Removes a template in constant time: moves the last row into its place, so no hole remains."""
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
        # The storage stays allocated past its end: an erased template must not remain there.
        rows[last] = 0.0
        self._index.codes.resize(last * self._dimension * FLOAT_BYTES)
        self._index.ntotal = last

    def _shrink(self) -> None:
        total = self._index.ntotal
        if len(self._ids) <= FIRST_CAPACITY or total >= SPARSE * len(self._ids):
            return
        smaller = faiss.IndexFlatIP(self._dimension)
        if total:
            smaller.add(self._rows())
        self._index = smaller
        self._ids = np.resize(self._ids[:total], max(FIRST_CAPACITY, 2 * total))
