"""Keeps the templates of a gallery in blocks that grow at their end and never move.

Whoever searches sees a `View`: the rows that were there when the search began. A later removal only notes
when the row died; it is wiped as soon as no search that may see it is left.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.gallery.first_pass import CodedRows, Codes, coded
from service.gallery.rows import Floats, Keys, Places, Rows, SealedRows
from service.gallery.segments import Segment

Ids = NDArray[np.int64]
ALIVE = np.iinfo(np.int64).max


class Block:
    """Rows `first` to `first + size` of the gallery. The system gives it memory as rows are written.

    `rows`: keeps them as they came, where a search reads those of the best.
    """

    def __init__(self, first: int, size: int, dimension: int, rows: Rows) -> None:
        self.first, self.size, self.live = first, size, 0
        self.ids: Ids = np.zeros(size, np.int64)
        self.died: Ids = np.full(size, ALIVE)
        self._rows = rows
        self._codes = np.zeros((size, dimension), np.int8)
        self._scale, self._radius = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self._longest = 0.0

    def write(self, start: int, ids: Ids, rows: Floats) -> None:
        """Writes rows that no search sees yet."""
        made, part = coded(rows), slice(start, start + len(ids))
        self.ids[part] = ids
        self._rows.write(start, rows)
        self._codes[part], self._scale[part], self._radius[part] = made.codes, made.scale, made.radius
        # A search that reads the old number sees none of the new rows.
        self._longest = max(self._longest, made.longest)

    @classmethod
    def found(cls, first: int, size: int, dimension: int, path: Path) -> Block:
        """A block without living rows, whose file an earlier process named. Raises OSError."""
        block = cls(first, size, dimension, SealedRows.found(path, size, dimension))
        block.died[:] = 0
        return block

    def take(self, segment: Segment, chosen: NDArray[np.bool_]) -> None:
        """Makes those rows of a segment live that lie in this block's file. Raises ValueError."""
        places = segment.places[chosen].astype(np.intp)
        if (places >= self.size).any() or (self.died[places] == ALIVE).any():
            raise ValueError("two rows of a snapshot lie in one place, or one beyond the end")
        # Slices where rows lie one after the other, as they mostly do: copies of half a gigabyte.
        part: slice | NDArray[np.bool_] = slice(None) if chosen.all() else chosen
        at: slice | Places = places
        if len(places) and (np.diff(places) == 1).all():
            at = slice(int(places[0]), int(places[-1]) + 1)
        self.ids[at], self.died[at] = segment.ids[part], ALIVE
        self._codes[at] = segment.codes[part]
        self.sealed().give_keys(at, segment.keys[part])
        self._scale[at], self._radius[at] = segment.scale[part], segment.radius[part]
        self._longest, self.live = max(self._longest, segment.longest), self.live + len(places)

    def cut(self) -> None:
        """Ends the block behind its last living row. Raises ValueError if its file ends before."""
        self.size = int(np.flatnonzero(self.died)[-1]) + 1
        if not self.sealed().reaches(self.size):
            raise ValueError("a file of rows is shorter than its snapshot says")

    def gather(self, places: Places) -> tuple[Codes, Floats, Floats, Keys]:
        """Copies of codes, scales, radii and keys, for a snapshot."""
        rows = self.sealed()
        return self._codes[places], self._scale[places], self._radius[places], rows.keys(places)

    def sealed(self) -> SealedRows:
        """What keeps the rows. Raises TypeError if that is not a file."""
        if not isinstance(self._rows, SealedRows):
            raise TypeError("the gallery keeps its rows in memory")
        return self._rows

    @property
    def longest(self) -> float:
        return self._longest

    def coded(self, start: int, stop: int) -> CodedRows:
        part = slice(start, stop)
        return CodedRows(self._codes[part], self._scale[part], self._radius[part], self._longest)

    def rows(self, places: Places) -> Floats:
        """Copies of rows, float32 [n, d]. Raises RowsLost."""
        return self._rows.read(places)

    def wipe(self, places: Places | slice) -> None:
        self._rows.wipe(places)
        self._codes[places] = 0
        self._scale[places], self._radius[places] = 0.0, 0.0


@dataclass(frozen=True, slots=True)
class View:
    """The state after change number `moment`: all rows of all blocks, of the last one the first `used`."""

    blocks: tuple[Block, ...] = ()
    used: int = 0
    moment: int = 0

    def parts(self, rows: int) -> Iterator[tuple[Block, int, int]]:
        """The blocks in pieces of at most `rows` rows: block, start, stop."""
        for block in self.blocks:
            end = self.used if block is self.blocks[-1] else block.size
            for start in range(0, end, rows):
                yield block, start, min(end, start + rows)


class Readers:
    """Knows the moments that searches look at, and what waits to be wiped for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moments = Counter[int]()
        self._dead = deque[tuple[int, Block, Places]]()
        self._view = View()

    @property
    def view(self) -> View:
        return self._view

    def publish(self, view: View, dead: list[tuple[Block, Places]]) -> None:
        """Shows the next searches `view`. `dead`: the rows that died at its moment."""
        with self._lock:
            self._view = view
            self._dead += [(view.moment, block, places) for block, places in dead]
            self._wipe()

    @contextmanager
    def reading(self) -> Iterator[View]:
        with self._lock:
            view = self._view
            self._moments[view.moment] += 1
        try:
            yield view
        finally:
            with self._lock:
                self._moments[view.moment] -= 1
                if not self._moments[view.moment]:
                    del self._moments[view.moment]
                self._wipe()

    def _wipe(self) -> None:
        oldest = min(self._moments, default=ALIVE)
        while self._dead and self._dead[0][0] <= oldest:
            _, block, places = self._dead.popleft()
            block.wipe(places)
