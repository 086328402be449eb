"""The default gallery: the k best templates by cosine, exactly, found by a first pass over 8-bit integers.

The results are those of a search that scores all in float64 (`service.gallery.search`): neither the batch nor
the order of rows changes a score or a rank. Ties are sorted by id.

Searches wait for no change: each sees the templates that were there when it began. In a large gallery those
that come while others run go together (`service.gallery.together`).

Memory: dimension + 40 bytes for each template and its entry in the map of ids, and up to 2.5 times that after
removals. The float32 rows lie sealed in a file (`service.gallery.rows`), or by default in memory too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service.gallery.base import Hit
from service.gallery.blocks import ALIVE, Block, Ids, Readers, View
from service.gallery.first_pass import LARGEST_DIMENSION, check
from service.gallery.rows import Floats, Rows, RowsInMemory, RowsLost, SealedRows
from service.gallery.search import QUERIES_AT_ONCE, best_of, threads
from service.gallery.segments import Segment
from service.gallery.snapshot import gathered, restored
from service.gallery.together import Together
from service.sealing.segments import SEGMENT_IDS

BLOCK_ROWS = 65_536
# A block that is full, or has grown to so many rows, is given up once less than this share of it is alive.
WORTH_MOVING, SPARSE = 1024, 0.4
# From so many templates on a search takes long enough for others to come meanwhile.
WORTH_SHARING = 20_000
MakeRows = Callable[[int, int], Rows]


class ExactGallery:
    """Exact cosine search over blocks of `block_rows` rows. `rows`: makes what keeps the float32 rows of a
    block, for its size and the dimension."""

    def __init__(
        self, dimension: int, *, block_rows: int = BLOCK_ROWS, rows: MakeRows = RowsInMemory
    ) -> None:
        if not 0 < dimension <= LARGEST_DIMENSION:
            raise ValueError(f"a template has 1 to {LARGEST_DIMENSION} dimensions, not {dimension}")
        self._dimension, self._block_rows, self._make_rows = dimension, block_rows, rows
        # Whether rows were lost, so that it has to be filled anew, into another one.
        self.damaged = False
        self._changing = threading.Lock()
        self._readers = Readers()
        self._together = Together(self._search, most=QUERIES_AT_ONCE, at_once=max(1, threads() // 2))
        # Segments whose templates changed since a snapshot asked.
        self._touched: set[int] = set()
        self._row_of: dict[int, int] = {}
        self._block_at: dict[int, Block] = {}

    def empty(self) -> ExactGallery:
        """Another gallery of this kind, without templates."""
        return ExactGallery(self._dimension, block_rows=self._block_rows, rows=self._make_rows)

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
        is too long or not finite, RowsLost if rows that it needs cannot be read.
        """
        if queries.ndim != 2 or queries.shape[1] != self._dimension or k < 1:
            raise ValueError(f"expected float32 [m, {self._dimension}] and k >= 1")
        if queries.dtype != np.float32:
            raise ValueError(f"expected float32 queries, got {queries.dtype}")
        check(queries)
        if self.size < WORTH_SHARING:
            return self._search(queries, k)
        return self._together.search(queries, k)

    def take_touched(self) -> set[int]:
        """The segments that changed since the last call, or whose rows moved."""
        with self._changing:
            taken, self._touched = self._touched, set()
            return taken

    def ids(self) -> Ids:
        """The ids of all templates, int64 [n], in no order."""
        with self._changing:
            return np.fromiter(self._row_of, np.int64, len(self._row_of))

    def ids_of(self, segment: int) -> Ids:
        """The ids of the templates of a segment, int64 [n]."""
        first = segment * SEGMENT_IDS
        known = [one for one in range(first, first + SEGMENT_IDS) if one in self._row_of]
        return np.array(known, np.int64)

    def file_names(self) -> set[str]:
        """The names of those files of rows that have one."""
        rows = (block.sealed() for block in self._readers.view.blocks)
        return {one.named for one in rows if one.named is not None}

    def segment(self, number: int, directory: Path) -> tuple[Segment, list[SealedRows]] | None:
        """A segment for a snapshot, and the rows that it refers to, whose files get names in `directory`.

        None if it has no templates. Changes wait for some milliseconds. Raises OSError if a file cannot
        have a name, TypeError if the gallery keeps its rows in memory.
        """
        first = number * SEGMENT_IDS
        with self._changing:
            known = (self._row_of.get(one) for one in range(first, first + SEGMENT_IDS))
            rows = np.array([row for row in known if row is not None], np.int64)
            if not len(rows):
                return None
            return gathered(rows, self._block_at, self._block_rows, directory)

    def restore(self, segments: Iterable[Segment], directory: Path) -> None:
        """Fills an empty gallery from all segments of a snapshot, and the files of rows in `directory`.

        Raises OSError, ValueError and RowsLost if it does not hold what it says; then this gallery is of
        no more use.
        """
        with self._changing:
            blocks, few = restored(segments, directory, self._block_rows, self._dimension)
            if self._row_of or self._readers.view.blocks:
                raise ValueError("the gallery holds templates already")
            for block in blocks:
                places = np.flatnonzero(block.died[: block.size])
                rows = (block.first + places).tolist()
                self._row_of.update(zip(block.ids[places].tolist(), rows, strict=True))
                self._block_at[block.first // self._block_rows] = block
            used, moment = blocks[-1].size if blocks else 0, self._readers.view.moment
            self._readers.publish(View(tuple(blocks), used, moment + 1), [])
            expected = len(self._row_of) + sum(block.live for block in few)
        for block in few:
            places = np.flatnonzero(block.died[: block.size])
            self.add(block.ids[places], block.rows(places))
        if len(self._row_of) != expected or expected != sum(b.live for b in (*blocks, *few)):
            raise ValueError("a template is twice in the snapshot")

    def _search(self, queries: Floats, k: int) -> list[list[Hit]]:
        with self._readers.reading() as view:
            found: list[list[Hit]] = []
            try:
                for start in range(0, len(queries), QUERIES_AT_ONCE):
                    found += best_of(view, queries[start : start + QUERIES_AT_ONCE], k)
            except RowsLost:
                self.damaged = True
                raise
            return found

    def _append(self, change: _Change, ids: Ids, vectors: Floats) -> None:
        """Writes rows behind the last ones, where no search looks yet, and buries those that they replace."""
        written = 0
        while written < len(ids):
            if not change.blocks or change.used == change.blocks[-1].size:
                change.begin_block(self._block_rows, self._dimension, self._make_rows)
            block, start = change.blocks[-1], change.used
            count = min(len(ids) - written, block.size - start)
            change.written.append((block, start, start + count))
            block.write(start, ids[written : written + count], vectors[written : written + count])
            written, change.used = written + count, start + count
        for block, start, stop in change.take_written():
            block.live += stop - start
            self._block_at[block.first // self._block_rows] = block
            self._touched.update(np.unique(block.ids[start:stop] // SEGMENT_IDS).tolist())
            for place, template_id in enumerate(block.ids[start:stop].tolist(), start):
                old = self._row_of.get(template_id)
                if old is not None:
                    self._bury(change, old)
                self._row_of[template_id] = block.first + place

    def _bury(self, change: _Change, row: int) -> None:
        number, place = divmod(row, self._block_rows)
        block = self._block_at[number]
        change.dead.setdefault(block, []).append(place)
        self._touched.add(int(block.ids[place]) // SEGMENT_IDS)
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
                change.begin_block(self._block_rows, self._dimension, self._make_rows)
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

    def begin_block(self, size: int, dimension: int, make_rows: MakeRows) -> None:
        first = self.blocks[-1].first + size if self.blocks else 0
        self.blocks.append(Block(first, size, dimension, make_rows(size, dimension)))
        self.used = 0
