"""Search time of the gallery beside FAISS IndexFlatIP, a plain matmul, and the memory it must read.

    python -m benchmarks.gallery [--sizes 10000 100000] [--dimension 512] [--queries 1 8] [--rounds 10]

All four run in turn within every round, so compare down a column; absolute figures are the machine's.
A turn is ten calls, of which the first three do not count: the threads of FAISS and those of NumPy's
BLAS take the cores from each other for some milliseconds after every change.
The floor is one sum (one thread) over the same matrix: a search reads every template once. All searches
answer the 20 best; the answers of the gallery and of FAISS are compared, so that nobody wins by
being wrong.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import faiss
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from service.gallery.faiss import FaissGallery

TOP_K = 20
TURN, WARM = 10, 3
Floats = NDArray[np.float32]


def unit_rows(rng: np.random.Generator, count: int, dimension: int) -> Floats:
    """Draws random directions, float32 [count, dimension]."""
    rows = rng.standard_normal((count, dimension), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def matmul_top(rows: Floats, queries: Floats) -> NDArray[np.intp]:
    """Searches with NumPy: one product, a partition, and a sort of the best."""
    scores = queries @ rows.T
    top = np.argpartition(scores, -TOP_K, axis=1)[:, -TOP_K:]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1)
    return np.take_along_axis(top, order, axis=1)


def time_ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def hit_agreement(gallery: FaissGallery, index: faiss.IndexFlatIP, queries: Floats) -> float:
    """Returns the share of the gallery's hits that FAISS has too; float32 sums may swap near ties."""
    ours = [{hit.template_id for hit in hits} for hits in gallery.search(queries, TOP_K)]
    theirs = [set(row.tolist()) for row in index.search(queries, TOP_K)[1]]
    return sum(len(a & b) for a, b in zip(ours, theirs, strict=True)) / (TOP_K * len(queries))


def measure(rows: Floats, queries: Floats, rounds: int) -> tuple[dict[str, float], float]:
    """Returns median milliseconds of each way, and the share of hits that agree."""
    gallery, index = FaissGallery(rows.shape[1]), faiss.IndexFlatIP(rows.shape[1])
    gallery.add(np.arange(len(rows)), rows)
    index.add(rows)
    ways: dict[str, Callable[[], object]] = {
        "one sum over the templates": lambda: rows.sum(),
        "gallery": lambda: gallery.search(queries, TOP_K),
        "FAISS IndexFlatIP": lambda: index.search(queries, TOP_K),
        "NumPy matmul": lambda: matmul_top(rows, queries),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    what = f"{len(rows)} templates"
    for _ in track(range(rounds), what, console=Console(stderr=True), transient=True):
        for name, call in ways.items():
            taken[name] += [time_ms(call) for _ in range(TURN)][WARM:]
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return medians, hit_agreement(gallery, index, queries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {args.dimension} dimensions, top {TOP_K}")
    rng = np.random.default_rng(0)
    for size in args.sizes:
        rows = unit_rows(rng, size, args.dimension)
        for count in args.queries:
            medians, same = measure(rows, unit_rows(rng, count, args.dimension), args.rounds)
            print(f"\n{size} templates ({rows.nbytes / 1e6:.0f} MB), {count} at once, ", end="")
            print(f"answers agree with FAISS in {100 * same:.1f} %")
            for name, ms in medians.items():
                print(f"  {name:30}{ms:9.2f} ms{ms / medians['gallery']:8.2f} x gallery")


if __name__ == "__main__":
    main()
