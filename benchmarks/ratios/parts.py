"""The parts of `make bench`: each measures both sides of its ratios in turn, and says what was measured."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.gallery import TOP_K, filled, measure, removal_us, unit_rows
from benchmarks.ratios.figures import Aim, Figure, Part, Side, here
from benchmarks.ratios.serving import batches, encoders, service
from benchmarks.starts import play

DIMENSION = 512


@dataclass(frozen=True, slots=True)
class Size:
    """How much the parts measure. `templates`: of the gallery and of a start; `rounds`: of every part;
    `requests`: of one round of the service; `dir`: keeps the database of a start for the next run."""

    name: str
    templates: int
    rounds: int
    requests: int
    dir: Path


@dataclass(frozen=True, slots=True)
class Found:
    """`how`: what a reader must know beside the rows, in sentences."""

    how: str
    figures: tuple[Figure, ...]


def gallery(size: Size) -> Found:
    """The gallery beside FAISS IndexFlatIP and a plain matrix product; fills both first."""
    rng = np.random.default_rng(0)
    rows = unit_rows(rng, size.templates, DIMENSION)
    ours, index, memory = filled(rows, size.dir)
    of = f"{size.templates:,} templates"
    figures = [
        Figure(
            f"memory, {of}",
            Side("gallery", memory.gallery_mb, "MB"),
            Side("IndexFlatIP", memory.faiss_mb, "MB"),
            "this/other",
            Aim("ratio", "most", 0.35),
        ),
        Figure(
            "adding",
            Side("gallery, coded and sealed", memory.added_per_s, "templates/s"),
            Side("IndexFlatIP, copied", memory.faiss_added_per_s, "templates/s"),
            "this/other",
            Aim("this", "least", 20_000),
        ),
    ]
    same: list[float] = []
    for count, aim in ((1, 5.0), (32, 4.0)):
        times = measure(rows, ours, index, unit_rows(rng, count, DIMENSION), size.rounds)
        same.append(times.same)
        mine = Side("gallery", times.ms["gallery"], "ms")
        probes = "1 probe" if count == 1 else f"{count} probes"
        for name, wanted in (("FAISS IndexFlatIP", Aim("ratio", "least", aim)), ("NumPy matmul", None)):
            other = Side(name, times.ms[name], "ms")
            figures.append(Figure(f"{probes}, {of}", mine, other, "other/this", wanted))
    few = filled(rows[: max(1, size.templates // 10)], size.dir)[0]
    figures.append(
        Figure(
            "removing one",
            Side(of, removal_us(ours, size.templates), "us"),
            Side("a tenth of them", removal_us(few, few.size), "us"),
            "this/other",
        )
    )
    how = (
        f"{DIMENSION} dimensions, random directions, the {TOP_K} best, float32 rows sealed in a file;"
        f" medians of {size.rounds} rounds in which all ways run in turn; {100 * min(same):.1f} % of the hits"
        " are those of IndexFlatIP."
    )
    return Found(how, tuple(figures))


def starts(size: Size) -> Found:
    """A start with many templates beside a plain read of its snapshot, and a start without templates."""
    played = list(play(size.dir / "starts", size.templates, size.rounds))
    ready = [one for one in played if one.start.way == "snapshot"]
    empty = [one for one in played if one.start.way == "no templates"]
    this = Side("from a snapshot", statistics.median(one.start.seconds for one in ready), "s")
    plain = Side(
        f"plain read of its {ready[-1].snapshot_mb:.0f} MB",
        statistics.median(one.plain_read_s for one in ready),
        "s",
    )
    without = Side("no templates", statistics.median(one.start.seconds for one in empty), "s")
    what = f"start to ready, {size.templates:,} templates"
    figures = (
        Figure(what, this, plain, "this/other", Aim("this", "most", 5.0)),
        Figure(what, this, without, "this/other"),
    )
    how = f"Process start to `/health/ready`, SQLite, files in the system's cache; medians of {len(ready)}."
    return Found(how, figures)


def in_turn(size: Size) -> Found:
    """The service beside the bare pipeline, and under half and twice the load that it can bear."""
    with tempfile.TemporaryDirectory() as folder:
        return Found(*service(Path(folder), size.rounds, size.requests))


def networks(size: Size) -> Found:
    """What larger batches give."""
    return Found(*batches(size.rounds))


def variants(size: Size) -> Found:
    """What int8 and fp16 give."""
    return Found(*encoders(size.rounds, 36 if size.name == "toy" else 112))


PARTS: Mapping[str, Callable[[Size], Found]] = {
    "gallery": gallery,
    "starts": starts,
    "service": in_turn,
    "batches": networks,
    "encoders": variants,
}


def measured(name: str, size: Size) -> Part:
    """Runs one part in this process."""
    began, load = datetime.now(UTC), os.getloadavg()[0]
    found = PARTS[name](size)
    return Part(name, size.name, found.how, here(began, load), found.figures)
