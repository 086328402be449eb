"""The gallery that Milvus keeps: it names templates near a probe, and their sealed templates are scored.

As with pgvector scores and thresholds are those of the embedded gallery to the last bit, and who changes rows
in Milvus gets nobody accepted. Milvus and the database share no transaction: a row that has no template in
the database is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.gallery.base import Hit
from service.gallery.first_pass import LONGEST, check
from service.gallery.search import best, hits_of, scores_of
from service.sealing.transform import OrthogonalTransform
from service.store.errors import StoreError
from service.store.milvus_index import MOST_ROWS, MilvusIndex
from service.store.template_reader import Opening, TemplateReader

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Scores = NDArray[np.float64]
# So many rows more than asked for show, in most galleries, that no other one belongs to the best.
MORE = 32


def rounding(dimension: int) -> float:
    """How far Milvus's score in single precision lies from the one in float64, at most.

    Two vectors no longer than `LONGEST`: each is rounded by 2^-24 of itself, and so are the sum of the
    products at each step, in whichever order, and what is answered.
    """
    return float((dimension + 4) * 2.0**-24 * LONGEST**2)


class MilvusGallery:
    """The search vectors of one space. `size` is what the space's follower has counted."""

    def __init__(
        self,
        index: MilvusIndex,
        reader: TemplateReader,
        space_id: str,
        name: str,
        transform: OrthogonalTransform,
    ) -> None:
        self.index, self.name = index, name
        self._reader, self._space_id, self._transform = reader, space_id, transform
        self._dimension = transform.dimension
        self._error = rounding(self._dimension)
        self.size = 0

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Stores rows and counts all of them: see `put`. Blocks. Raises as `put`."""
        self.put(ids, vectors)
        self.size = self.index.count(self.name)

    def put(self, ids: Ids, vectors: Floats) -> None:
        """Stores rows of templates. Blocks. Raises StoreError, and ValueError for what is no template.

        An enrolment stores them itself, before its transaction ends.
        """
        if ids.ndim != 1 or ids.dtype != np.int64:
            raise ValueError(f"expected int64 ids [n], got {ids.dtype} {ids.shape}")
        if len(np.unique(ids)) != len(ids):
            raise ValueError("an id is given twice")
        if vectors.shape != (len(ids), self._dimension) or vectors.dtype != np.float32:
            raise ValueError(f"expected float32 [{len(ids)}, {self._dimension}], got {vectors.shape}")
        check(vectors)
        self.index.put(self.name, ids, self._transform.singles(vectors))

    def remove(self, ids: Ids) -> None:
        """Erases the rows of these templates, whose own rows stay. Blocks. Raises StoreError."""
        self.index.remove(self.name, ids.tolist())
        self.size = self.index.count(self.name)

    def clear(self) -> None:
        """Erases the rows of the space. Blocks. Raises StoreError."""
        self.index.drop(self.name)
        self.arrange()
        self.index.mark_whole(self.name)
        self.size = 0

    def arrange(self) -> None:
        """Makes the collection unless it is there; makes it anew, and empty, if its index is not that of the
        settings. Blocks. Raises StoreError."""
        self.index.make(self.name, self._dimension)
        if self.index.kind(self.name) != self.index.wanted:
            self.index.drop(self.name)
            self.index.make(self.name, self._dimension)

    def whole(self) -> bool:
        """Whether the collection has as many rows as there are templates: one that somebody lost or made anew
        misses people. Looks anew after a call has failed. Blocks. Raises StoreError."""
        if not self.index.whole(self.name):
            # Rows come before their templates and go after them, so they are counted last.
            with self._reader.opening(self._space_id, self._dimension) as opening:
                templates = opening.count()
            self.index.load(self.name)
            if self.index.count(self.name) < templates:
                return False
            self.index.mark_whole(self.name)
        return True

    def search(self, queries: Floats, k: int) -> list[list[Hit]]:
        """Returns up to `k` of the best templates of each query, best first: with `exact` the best, with
        `hnsw` those among the candidates.

        The best among all, which are opened for it, where more than `MOST_ROWS` are asked for. `queries`:
        unit-norm float32 [m, d]. Blocks. Raises StoreError, and ValueError as the embedded one.
        """
        if queries.ndim != 2 or queries.shape[1] != self._dimension or k < 1:
            raise ValueError(f"expected float32 [m, {self._dimension}] and k >= 1")
        if queries.dtype != np.float32:
            raise ValueError(f"expected float32 queries, got {queries.dtype}")
        check(queries)
        if not self.whole():
            raise StoreError("Milvus lacks rows of templates, which are being added")
        graph = self.index.options.index == "hnsw"
        most = max(k + MORE, self.index.options.candidates if graph else 0)
        found = self._near(self._transform.singles(queries), most)
        # Only now: what was committed when the search began is both in Milvus and in here.
        with self._reader.opening(self._space_id, self._dimension) as opening:
            return [self._one(opening, *pair, k, most) for pair in zip(queries, found, strict=True)]

    def _near(self, transformed: Floats, most: int) -> list[tuple[Ids, Scores]]:
        return self.index.near(self.name, transformed, min(most, MOST_ROWS))

    def _one(
        self, opening: Opening, query: Floats, found: tuple[Ids, Scores], k: int, most: int
    ) -> list[Hit]:
        while most <= MOST_ROWS:
            ids, near = found
            opened, vectors = opening.templates(ids)
            hits = hits_of(*best(opened, scores_of(vectors, query), k))
            if self._enough(opening, hits, ids, near, k, most):
                return hits
            if most == MOST_ROWS:
                break
            # Rows without a template took the places of others, or rounding hides who is among the best.
            most = min(4 * most, MOST_ROWS)
            (found,) = self._near(self._transform.singles(query[None]), most)
        return self._of_all(opening, query, k)

    def _enough(self, opening: Opening, hits: list[Hit], ids: Ids, near: Scores, k: int, most: int) -> bool:
        """Whether no template that was not looked at belongs to the best, as far as the index can tell."""
        graph = self.index.options.index == "hnsw"
        if len(ids) == most:
            return len(hits) == k and (graph or hits[-1].score > near[-1] + self._error)
        # Without a graph there are no more; one may come to an end before it has met all.
        return not graph or len(hits) >= min(k, opening.count())

    def _of_all(self, opening: Opening, query: Floats, k: int) -> list[Hit]:
        """The `k` best of all templates of the space."""
        ids, scores = [np.empty(0, np.int64)], [np.empty(0)]
        for some, vectors in opening.every():
            ids.append(some)
            scores.append(scores_of(vectors, query))
        return hits_of(*best(np.concatenate(ids), np.concatenate(scores), k))
