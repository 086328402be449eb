"""Gathers what a snapshot keeps of a gallery's blocks, and makes blocks of a snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.gallery.blocks import Block
from service.gallery.rows import SealedRows
from service.gallery.segments import Segment

# A file with a smaller share of living rows is no block of its own: its rows are written anew.
WORTH_KEEPING = 0.25


def gathered(
    rows: NDArray[np.int64], block_at: Mapping[int, Block], block_rows: int, directory: Path
) -> tuple[Segment, list[SealedRows]]:
    """A segment of these rows of the gallery, at least one. Raises OSError, TypeError."""
    numbers, of = np.unique(rows // block_rows, return_inverse=True)
    places = rows % block_rows
    blocks = [block_at[int(number)] for number in numbers]
    held = [block.sealed() for block in blocks]
    files = tuple(one.name(directory) for one in held)
    parts = [block.gather(places[of == i]) for i, block in enumerate(blocks)]
    codes, scale, radius, keys = (np.concatenate(column) for column in zip(*parts, strict=True))
    made = Segment(
        ids=np.concatenate([block.ids[places[of == i]] for i, block in enumerate(blocks)]),
        codes=codes,
        scale=scale,
        radius=radius,
        keys=keys,
        of=np.sort(of).astype(np.uint16),
        places=np.concatenate([places[of == i] for i in range(len(blocks))]).astype(np.int32),
        files=files,
        longest=max(block.longest for block in blocks),
    )
    return made, held


def restored(
    segments: Iterable[Segment], directory: Path, block_rows: int, dimension: int
) -> tuple[list[Block], list[Block]]:
    """The blocks that a gallery begins with, and those whose rows it should write anew.

    Raises OSError and ValueError if the files are not those that the segments mean.
    """
    found: dict[str, Block] = {}
    for segment in segments:
        for i, name in enumerate(segment.files):
            if Path(name).name != name:
                raise ValueError("a file of rows lies elsewhere")
            if name not in found:
                found[name] = Block.found(0, block_rows, dimension, directory / name)
            found[name].take(segment, segment.of == i)
    kept: list[Block] = []
    few: list[Block] = []
    for block in found.values():
        block.cut()
        if block.live >= WORTH_KEEPING * block_rows:
            block.first = len(kept) * block_rows
            kept.append(block)
        else:
            few.append(block)
    return kept, few
