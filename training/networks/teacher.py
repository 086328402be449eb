"""A frozen teacher, the embedder of a bundle, and its templates, computed once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from faces.files import write_array
from faces.types import Pixels, Spectrum
from training.data.prepared import PreparedSet
from training.networks.crop_encoder import Vectors as Vectors
from training.networks.onnx_encoders import BundleEncoder

BATCH = 16


class Teacher(BundleEncoder):
    """A bundle's embedder of references, for crops with its own alignment."""

    def embed(self, crops: Pixels, spectrum: Spectrum = Spectrum.VIS) -> Vectors:
        """uint8 [n, side, side, 3] -> unit float32 [n, dimension]."""
        return super().embed(crops, spectrum)


def embed_all(teacher: Teacher, crops: Pixels, *, label: str, threads: int = 2) -> Vectors:
    """Embeds many crops, with a progress bar: unit float32 [n, dimension]."""
    starts = range(0, len(crops), BATCH)
    with ThreadPoolExecutor(threads) as pool:
        work = pool.map(lambda start: teacher.embed(crops[start : start + BATCH]), starts)
        return np.concatenate(list(track(work, label, total=len(starts))))


def cached(cache: Path, count: int, make: Callable[[], Vectors]) -> Vectors:
    """Templates [count, dimension], read from `cache` if it holds as many, else made and written there."""
    if cache.is_file():
        stored: Vectors = np.load(cache)
        if len(stored) == count:
            return stored
    rows = make()
    write_array(cache, rows)
    return rows


def cached_templates(prepared: PreparedSet, indices: NDArray[np.int64], bundle: Path, cache: Path) -> Vectors:
    """Templates [n, dimension] of these rows, read from `cache` if it holds as many."""

    def make() -> Vectors:
        return embed_all(Teacher(bundle), prepared.crops(indices), label="teacher's templates")

    return cached(cache, len(indices), make)


def by_row(prepared: PreparedSet, indices: NDArray[np.int64], templates: Vectors) -> Vectors:
    """Scatters the templates [n, dimension] of some rows over all rows: [rows, dimension], zero elsewhere."""
    placed = np.zeros((len(prepared.rows), templates.shape[1]), np.float32)
    placed[indices] = templates
    return placed
