"""Search time and memory of the gallery beside FAISS IndexFlatIP, a plain matmul, and the bytes it must read.

    python -m benchmarks.gallery [--sizes 10000 100000] [--dimension 512] [--queries 1 8 32] [--rounds 10]

All four run in turn within every round, so compare down a column; absolute figures are the machine's.
A turn is ten calls, of which the first three do not count: the threads of FAISS and those of NumPy's
BLAS take the cores from each other for some milliseconds after every change.
The floor is one sum (one thread) over as many bytes as the first pass reads, a quarter of the float32
rows. All searches answer the 20 best; the gallery and FAISS are compared, so that nobody wins by being wrong.
Memory is what the process grew by while the templates were added, at most `CHUNK` at a time. The gallery
keeps its float32 rows as the service does, sealed in a file in `--dir`. At the end some templates are removed
one by one; a removal that takes constant time takes the same in every size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from service.gallery.exact import ExactGallery
from service.gallery.rows import SealedRows

TOP_K = 20
TURN, WARM = 10, 3
CHUNK = 50_000
REMOVED = 1000
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Memory:
    """What `templates` templates took. `added_per_s`, `added_per_cpu_s`: templates that the gallery took in a
    second, and in a second of a processor, which other work on the machine does not change.
    `faiss_added_per_s`: those that IndexFlatIP took in a second."""

    templates: int
    gallery_mb: float
    faiss_mb: float
    added_per_s: float
    added_per_cpu_s: float
    faiss_added_per_s: float

    @property
    def share(self) -> float:
        return self.gallery_mb / self.faiss_mb


@dataclass(frozen=True, slots=True)
class Times:
    """Median milliseconds of each way, and the share of the gallery's hits that FAISS has too."""

    templates: int
    queries: int
    ms: dict[str, float]
    same: float


def unit_rows(rng: np.random.Generator, count: int, dimension: int) -> Floats:
    """Draws random directions, float32 [count, dimension]."""
    rows = rng.standard_normal((count, dimension), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, CHUNK):
        yield slice(start, min(count, start + CHUNK))


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


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def filled(rows: Floats, directory: Path) -> tuple[ExactGallery, faiss.IndexFlatIP, Memory]:
    gallery = ExactGallery(rows.shape[1], rows=partial(SealedRows, directory=directory))
    index = faiss.IndexFlatIP(rows.shape[1])
    before, ids, cpu_s = resident_mb(), np.arange(len(rows)), time.process_time()
    taken = sum(time_ms(lambda part=part: gallery.add(ids[part], rows[part])) for part in chunks(len(rows)))  # type: ignore[misc]
    between, cpu_s = resident_mb(), time.process_time() - cpu_s
    faiss_taken = sum(time_ms(lambda part=part: index.add(rows[part])) for part in chunks(len(rows)))  # type: ignore[misc]
    memory = Memory(
        len(rows),
        between - before,
        resident_mb() - between,
        1000 * len(rows) / taken,
        len(rows) / cpu_s,
        1000 * len(rows) / faiss_taken,
    )
    return gallery, index, memory


def hit_agreement(gallery: ExactGallery, index: faiss.IndexFlatIP, queries: Floats) -> float:
    """Returns the share of the gallery's hits that FAISS has too; float32 sums may swap near ties."""
    ours = [{hit.template_id for hit in hits} for hits in gallery.search(queries, TOP_K)]
    theirs = [set(row.tolist()) for row in index.search(queries, TOP_K)[1]]
    return sum(len(a & b) for a, b in zip(ours, theirs, strict=True)) / (TOP_K * len(queries))


def removal_us(gallery: ExactGallery, count: int) -> float:
    """Median microseconds for the removal of one template."""
    chosen = np.random.default_rng(1).choice(count, min(REMOVED, count), replace=False)
    taken = [time_ms(lambda one=one: gallery.remove(np.array([one]))) for one in chosen]  # type: ignore[misc]
    assert gallery.size == count - len(chosen)
    return 1000 * statistics.median(taken)


def measure(
    rows: Floats, gallery: ExactGallery, index: faiss.IndexFlatIP, queries: Floats, rounds: int
) -> Times:
    quarter = rows[: max(1, len(rows) // 4)]
    ways: dict[str, Callable[[], object]] = {
        "one sum over a quarter of the rows": lambda: quarter.sum(),
        "gallery": lambda: gallery.search(queries, TOP_K),
        "FAISS IndexFlatIP": lambda: index.search(queries, TOP_K),
        "NumPy matmul": lambda: matmul_top(rows, queries),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    what = f"{len(rows)} templates, {len(queries)} at once"
    for _ in track(range(rounds), what, console=Console(stderr=True), transient=True):
        for name, call in ways.items():
            taken[name] += [time_ms(call) for _ in range(TURN)][WARM:]
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return Times(len(rows), len(queries), medians, hit_agreement(gallery, index, queries))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="a directory on a disk")
    parser.add_argument("--out", type=Path, help="a file for the figures (.json)")
    args = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {args.dimension} dimensions, top {TOP_K}")
    rng = np.random.default_rng(0)
    kept: list[dict[str, object]] = []
    for size in args.sizes:
        rows = unit_rows(rng, size, args.dimension)
        gallery, index, memory = filled(rows, args.dir)
        kept.append(asdict(memory))
        print(
            f"\n{size} templates ({rows.nbytes / 1e6:.0f} MB): gallery {memory.gallery_mb:.0f} MB, FAISS"
            f" {memory.faiss_mb:.0f} MB ({memory.share:.2f} x FAISS);"
            f" {memory.added_per_s:.0f} added a second, {memory.added_per_cpu_s:.0f} a second of a processor"
        )
        for count in args.queries:
            times = measure(rows, gallery, index, unit_rows(rng, count, args.dimension), args.rounds)
            kept.append(asdict(times))
            print(f"{count} at once, answers agree with FAISS in {100 * times.same:.1f} %")
            for name, ms in times.ms.items():
                print(f"  {name:36}{ms:9.2f} ms{ms / times.ms['gallery']:8.2f} x gallery")
        removal = removal_us(gallery, size)
        kept.append({"templates": size, "removal_us": removal})
        print(f"a removal takes {removal:.0f} us")
    if args.out is not None:
        args.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
