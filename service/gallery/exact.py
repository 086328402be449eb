"""The default gallery: the k best templates by cosine, exactly, found by a first pass over 8-bit integers.

The first pass gives each score a lower and an upper bound (`service.gallery.first_pass`). The k-th best lower
bound is a floor: whoever's upper bound lies below it is not among the k best. The few that remain are scored
in float64 from their float32 rows. So the results are those of a search that scores all in float64, and the
score and rank of a pair depend neither on the batch nor on the order of rows. Ties are sorted by id.

Searches wait for no change: each sees the templates that were there when it began. In a large gallery those
that come while others run go together (`service.gallery.together`).

Memory: 5 bytes x dimension + 24 for each template and its entry in the map of ids, and up to 2.5 times that
after removals.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.gallery.base import Hit
from service.gallery.blocks import ALIVE, Block, Floats, Ids, Places, Readers, View
from service.gallery.first_pass import LARGEST_DIMENSION, CodedQueries, check
from service.gallery.together import Together

BLOCK_ROWS = 65_536
# A block that is full, or has grown to so many rows, is given up once less than this share of it is alive.
WORTH_MOVING, SPARSE = 1024, 0.4
# From so many templates on a search takes long enough for others to come meanwhile.
WORTH_SHARING = 20_000
# Limits on the memory of a search: queries, scores of one piece, and rows in float64.
QUERIES_AT_ONCE = 32
SCORES_AT_ONCE = 1 << 18
ROWS_AT_ONCE = 1024
# The floor is the k-th best of the maxima of groups of rows: nearly as high as the k-th best row, and
# cheaper to find. There are at least this many times k groups.
GROUPS, GROUP_ROWS = 4, 64


class ExactGallery:
    """Exact cosine search over blocks of `block_rows` rows."""

    def __init__(self, dimension: int, *, block_rows: int = BLOCK_ROWS) -> None:
        if not 0 < dimension <= LARGEST_DIMENSION:
            raise ValueError(f"a template has 1 to {LARGEST_DIMENSION} dimensions, not {dimension}")
        self._dimension, self._block_rows = dimension, block_rows
        self._changing = threading.Lock()
        self._readers = Readers()
        self._together = Together(self._search, most=QUERIES_AT_ONCE)
        self._row_of: dict[int, int] = {}
        self._block_at: dict[int, Block] = {}

    @property
    def size(self) -> int:
        """Number of searchable templates."""
        return len(self._row_of)

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Adds `ids` int64 [n] with unit-norm `vectors` float32 [n, d]; replaces known ids.

        A search sees all of them or none. Takes amortised constant time for each id. Raises ValueError if a
        shape or a type is wrong, a vector is too long or not finite, or an id is given twice.
        """
        if ids.ndim != 1 or ids.dtype != np.int64:
            raise ValueError(f"expected int64 ids [n], got {ids.dtype} {ids.shape}")
        if vectors.shape != (len(ids), self._dimension) or vectors.dtype != np.float32:
            raise ValueError(f"expected float32 [{len(ids)}, {self._dimension}], got {vectors.shape}")
        given = ids.tolist()
        if len(set(given)) != len(given):
            raise ValueError("an id is given twice")
        check(vectors)
        with self._changing:
            with self._change() as change:
                self._append(change, ids, vectors)
            if change.dead:
                self._move_sparse()

    def remove(self, ids: Ids) -> None:
        """Removes ids from all later searches in amortised constant time each; ignores unknown ids."""
        with self._changing:
            with self._change() as change:
                for template_id in ids.tolist():
                    row = self._row_of.get(template_id)
                    if row is not None:
                        self._bury(change, row)
                        del self._row_of[template_id]
            self._move_sparse()

    def clear(self) -> None:
        """Removes every template and releases the memory."""
        with self._changing:
            self._row_of, self._block_at = {}, {}
            self._readers.publish(View(moment=self._readers.view.moment + 1), [])

    def search(self, queries: Floats, k: int) -> list[list[Hit]]:
        """Returns exactly the up to `k` best templates of each query, best first.

        `queries`: unit-norm float32 [m, d]. Raises ValueError if the shape or the type is wrong, or a query
        is too long or not finite.
        """
        if queries.ndim != 2 or queries.shape[1] != self._dimension or k < 1:
            raise ValueError(f"expected float32 [m, {self._dimension}] and k >= 1")
        if queries.dtype != np.float32:
            raise ValueError(f"expected float32 queries, got {queries.dtype}")
        check(queries)
        if self.size < WORTH_SHARING:
            return self._search(queries, k)
        return self._together.search(queries, k)

    def _search(self, queries: Floats, k: int) -> list[list[Hit]]:
        with self._readers.reading() as view:
            found: list[list[Hit]] = []
            for start in range(0, len(queries), QUERIES_AT_ONCE):
                found += _best_of(view, queries[start : start + QUERIES_AT_ONCE], k)
            return found

    def _append(self, change: _Change, ids: Ids, vectors: Floats) -> None:
        """Writes rows behind the last ones, where no search looks yet, and buries those that they replace."""
        written = 0
        while written < len(ids):
            if not change.blocks or change.used == change.blocks[-1].size:
                change.begin_block(self._block_rows, self._dimension)
            block, start = change.blocks[-1], change.used
            count = min(len(ids) - written, block.size - start)
            change.written.append((block, start, start + count))
            block.write(start, ids[written : written + count], vectors[written : written + count])
            written, change.used = written + count, start + count
        for block, start, stop in change.take_written():
            block.live += stop - start
            self._block_at[block.first // self._block_rows] = block
            for place, template_id in enumerate(block.ids[start:stop].tolist(), start):
                old = self._row_of.get(template_id)
                if old is not None:
                    self._bury(change, old)
                self._row_of[template_id] = block.first + place

    def _bury(self, change: _Change, row: int) -> None:
        number, place = divmod(row, self._block_rows)
        block = self._block_at[number]
        change.dead.setdefault(block, []).append(place)
        block.died[place] = change.moment
        block.live -= 1

    @contextmanager
    def _change(self) -> Iterator[_Change]:
        """Shows searches what the `with` block changes. An error, of memory for one, leaves all as it was."""
        change = _Change(self._readers.view)
        try:
            yield change
            view = View(tuple(change.blocks), change.used, change.moment)
            dead = [(block, np.array(places, np.intp)) for block, places in change.dead.items()]
        except BaseException:
            self._undo(change)
            raise
        self._readers.publish(view, dead)

    def _undo(self, change: _Change) -> None:
        for block, places in change.dead.items():
            for place in places:
                block.died[place] = ALIVE
                self._row_of[int(block.ids[place])] = block.first + place
        for block, start, stop in change.taken + change.written:
            for place in range(start, stop):
                if self._row_of.get(int(block.ids[place])) == block.first + place:
                    del self._row_of[int(block.ids[place])]
            block.wipe(slice(start, stop))
            if block not in change.view.blocks:
                self._block_at.pop(block.first // self._block_rows, None)
        for block, live in zip(change.view.blocks, change.live, strict=True):
            block.live = live

    def _move_sparse(self) -> None:
        """Copies what lives in sparse blocks behind the last rows, and gives the blocks up."""
        view = self._readers.view
        sparse = []
        for block in view.blocks:
            used = view.used if block is view.blocks[-1] else block.size
            if used >= min(WORTH_MOVING, block.size) and block.live < SPARSE * used:
                sparse.append((block, np.flatnonzero(block.died[:used] > view.moment)))
        if not sparse:
            return
        # Whoever still looks at an old block sees it as it was. What was copied is wiped there after them:
        # the system may keep freed memory, and nobody would erase a template from it.
        with self._change() as change:
            if sparse[-1][0] is view.blocks[-1]:
                change.begin_block(self._block_rows, self._dimension)
            change.blocks = [block for block in change.blocks if all(block is not old for old, _ in sparse)]
            for old, living in sparse:
                self._append(change, old.ids[living], old.rows(living))
        for old, _ in sparse:
            del self._block_at[old.first // self._block_rows]


@dataclass(slots=True)
class _Change:
    """The next state, as far as it is made."""

    view: View
    blocks: list[Block] = field(init=False)
    used: int = field(init=False)
    moment: int = field(init=False)
    live: list[int] = field(init=False)
    dead: dict[Block, list[int]] = field(default_factory=dict)
    # Pieces of blocks: written, and of these the ones that the map of ids knows.
    written: list[tuple[Block, int, int]] = field(default_factory=list)
    taken: list[tuple[Block, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blocks, self.used = list(self.view.blocks), self.view.used
        self.moment = self.view.moment + 1
        self.live = [block.live for block in self.blocks]

    def take_written(self) -> list[tuple[Block, int, int]]:
        written, self.written = self.written, []
        self.taken += written
        return written

    def begin_block(self, size: int, dimension: int) -> None:
        first = self.blocks[-1].first + size if self.blocks else 0
        self.blocks.append(Block(first, size, dimension))
        self.used = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Near:
    """Rows of a block that may be among the k best of some query: places, queries and upper bounds [c]."""

    block: Block
    places: Places
    queries: Places
    upper: Floats


def _best_of(view: View, queries: Floats, k: int) -> list[list[Hit]]:
    near, floor = _first_pass(view, queries, k)
    hits = []
    for query in range(len(queries)):
        ids, scores = [np.empty(0, np.int64)], [np.empty(0)]
        for part in near:
            places = part.places[(part.queries == query) & (part.upper >= floor[query])]
            ids.append(part.block.ids[places])
            scores.append(_exact(part.block, places, queries[query]))
        hits.append(_best(np.concatenate(ids), np.concatenate(scores), k))
    return hits


def _first_pass(view: View, queries: Floats, k: int) -> tuple[list[_Near], Floats]:
    """Returns what may be among the k best, and a floor [m] under the k-th best score of each query."""
    asked = CodedQueries(queries)
    best = np.full((0, len(queries)), -np.inf, np.float32)
    floor = np.full(len(queries), -np.inf, np.float32)
    near = []
    for block, start, stop in view.parts(max(1, SCORES_AT_ONCE // len(queries))):
        lower, width = asked.bounds(block.coded(start, stop))
        dead = block.died[start:stop] <= view.moment
        lower[dead] = -np.inf
        group = max(1, min(GROUP_ROWS, len(lower) // (GROUPS * k)))
        maxima = np.maximum.reduceat(lower, np.arange(0, len(lower), group), axis=0)
        best = np.concatenate([best, maxima])
        if len(best) >= k:
            best = np.partition(best, len(best) - k, axis=0)[len(best) - k :]
            floor = best[0]
        width += lower
        # Nothing dead: its bounds are minus infinity, as a floor may be.
        places, of = np.nonzero((width >= floor) & ~dead[:, None])
        near.append(_Near(block, places + start, of, width[places, of]))
    return near, floor


def _exact(block: Block, places: Places, query: Floats) -> NDArray[np.float64]:
    """Scores rows in float64 [n]. Avoids BLAS, whose order of summation differs from row to row."""
    exact = query.astype(np.float64)
    parts = [
        np.einsum("nd,d->n", block.rows(places[start : start + ROWS_AT_ONCE]).astype(np.float64), exact)
        for start in range(0, len(places), ROWS_AT_ONCE)
    ]
    return np.concatenate([np.empty(0), *parts])


def _best(ids: Ids, scores: NDArray[np.float64], k: int) -> list[Hit]:
    order = np.lexsort((ids, -scores))[:k]
    return [Hit(int(ids[i]), float(np.clip(scores[i], -1.0, 1.0))) for i in order]
