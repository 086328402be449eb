"""Finds the k best rows of a view: bounds for all rows, exact scores for the few that remain.

The first pass gives each score a lower and an upper bound (`service.gallery.first_pass`). The k-th best lower
bound is a floor: whoever's upper bound lies below it is not among the k best. The few that remain are scored
in float64 from their float32 rows, those with the highest upper bounds first, until the next upper bound lies
below the k-th best score.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.gallery.base import Hit
from service.gallery.blocks import Block, Ids, View
from service.gallery.first_pass import CodedQueries
from service.gallery.rows import Floats, Places

# Limits on the memory of a search: queries, scores of one piece, and rows in float64.
QUERIES_AT_ONCE = 32
SCORES_AT_ONCE = 1 << 18
ROWS_AT_ONCE = 1024
# So many more rows than k are scored at first.
FIRST_MORE = 12
# The floor is the k-th best of the maxima of groups of rows: nearly as high as the k-th best row, and
# cheaper to find. There are at least this many times k groups.
GROUPS, GROUP_ROWS = 4, 64
CORES = os.cpu_count() or 1


class _Threads:
    """The threads that all searches of this process share."""

    def __init__(self, count: int) -> None:
        self.count, self.pool = count, ThreadPoolExecutor(count, thread_name_prefix="gallery")


_threads = _Threads(CORES)


def use_threads(count: int) -> None:
    """Limits the threads of all searches of this process, which several may share a machine with. Call it
    before the first search."""
    global _threads
    _threads = _Threads(count)


def threads() -> int:
    """Threads that one search may use."""
    return _threads.count


@dataclass(frozen=True, slots=True, eq=False)
class _Near:
    """Rows of a block that may be among the k best of some query: places, queries and upper bounds [c]."""

    block: Block
    places: Places
    queries: Places
    upper: Floats

    def of(self, query: int, floor: np.float32) -> _Near:
        """Those of one query that reach its floor."""
        chosen = (self.queries == query) & (self.upper >= floor)
        return _Near(self.block, self.places[chosen], self.queries[chosen], self.upper[chosen])


class _Floor:
    """Lies under the k-th best score of each query, `value` [m], and rises as pieces are looked through."""

    def __init__(self, queries: int, k: int) -> None:
        self.k, self.value = k, np.full(queries, -np.inf, np.float32)
        self._best: Floats = np.empty((0, queries), np.float32)
        self._lock = threading.Lock()

    def raised_by(self, lower: Floats) -> Floats:
        """The floor once the lower bounds [n, m] of further rows are known."""
        group = max(1, min(GROUP_ROWS, len(lower) // (GROUPS * self.k)))
        maxima = np.maximum.reduceat(lower, np.arange(0, len(lower), group), axis=0)
        with self._lock:
            best = np.concatenate([self._best, maxima])
            if len(best) >= self.k:
                best = np.partition(best, len(best) - self.k, axis=0)[len(best) - self.k :]
                self.value = best[0]
            self._best = best
            return self.value


def best_of(view: View, queries: Floats, k: int) -> list[list[Hit]]:
    """The up to `k` best rows of each of `queries`, float32 [m, d] with m of at most `QUERIES_AT_ONCE`."""
    floor = _Floor(len(queries), k)
    near = _first_pass(view, queries, floor)
    return [
        _rank([part.of(query, floor.value[query]) for part in near], queries[query], k)
        for query in range(len(queries))
    ]


def _rank(near: list[_Near], query: Floats, k: int) -> list[Hit]:
    """The up to `k` best of what may be among them."""
    upper = np.concatenate([np.empty(0, np.float32), *(part.upper for part in near)])
    number = np.repeat(np.arange(len(near)), [len(part.upper) for part in near])
    places = np.concatenate([np.empty(0, np.intp), *(part.places for part in near)])
    order = np.argsort(-upper, kind="stable")
    ids, scores = np.empty(0, np.int64), np.empty(0)
    done, count = 0, k + FIRST_MORE
    while done < len(order) and (len(scores) < k or upper[order[done]] >= scores[-1]):
        chosen = order[done : done + count]
        of, at = number[chosen], places[chosen]
        rows, their_ids = np.empty((len(chosen), len(query)), np.float32), np.empty(len(chosen), np.int64)
        for part in set(of.tolist()):
            block, here = near[part].block, np.flatnonzero(of == part)
            rows[here], their_ids[here] = block.rows(at[here]), block.ids[at[here]]
        ids, scores = np.concatenate([ids, their_ids]), np.concatenate([scores, scores_of(rows, query)])
        ids, scores = best(ids, scores, k)
        done, count = done + len(chosen), min(2 * count, ROWS_AT_ONCE)
    return hits_of(ids, scores)


def _first_pass(view: View, queries: Floats, floor: _Floor) -> list[_Near]:
    """What may be among the k best; the products of several pieces run on several cores."""
    look = partial(_look, CodedQueries(queries), floor, view.moment)
    pieces = list(view.parts(max(1, SCORES_AT_ONCE // len(queries))))
    if len(pieces) == 1 or _threads.count == 1:
        return [look(*piece) for piece in pieces]
    running = [_threads.pool.submit(look, *piece) for piece in pieces]
    # Nobody reads the view once this returns, not even where one of them failed.
    wait(running)
    return [one.result() for one in running]


def _look(asked: CodedQueries, floor: _Floor, moment: int, block: Block, start: int, stop: int) -> _Near:
    lower, width = asked.bounds(block.coded(start, stop))
    dead = block.died[start:stop] <= moment
    lower[dead] = -np.inf
    least = floor.raised_by(lower)
    width += lower
    # Nothing dead: its bounds are minus infinity, as a floor may be.
    places, of = np.nonzero((width >= least) & ~dead[:, None])
    return _Near(block, places + start, of, width[places, of])


def scores_of(rows: Floats, query: Floats) -> NDArray[np.float64]:
    """Scores `rows`, float32 [n, d], in float64 [n]. Avoids BLAS, whose order of summation differs from row
    to row."""
    scores: NDArray[np.float64] = np.einsum("nd,d->n", rows.astype(np.float64), query.astype(np.float64))
    return scores


def best(ids: Ids, scores: NDArray[np.float64], k: int) -> tuple[Ids, NDArray[np.float64]]:
    """The up to `k` best, best first, those of equal scores by id."""
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]


def hits_of(ids: Ids, scores: NDArray[np.float64]) -> list[Hit]:
    """Templates and their scores as an answer."""
    return [Hit(int(i), float(np.clip(score, -1.0, 1.0))) for i, score in zip(ids, scores, strict=True)]
