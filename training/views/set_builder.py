"""Builds prepared sets from photos: worker processes run the jobs, one process writes in their order.

A job is one photo. What becomes of it - which conditions, which family, which split and role - stands
beside the command that makes the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import track

from faces.bundle import read
from training.data.prepared import PreparedSet, Refused, SetInfo
from training.data.set_writer import Made, SetWriter
from training.engine.worker_pool import in_order, worker_pool
from training.networks.onnx_runner import BundleRunner
from training.views.conditions import Family, ViewMaker
from training.views.found_faces import ALIGNMENT, SIDE_PX

# Jobs that are handed to the workers ahead of the one that is written next.
JOBS_AT_ONCE = 64

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewAssets:
    """The files that views are made with.

    `bundle`: its detector finds the faces; `models`: folder of the face mesh's files; `templates`: folder
    of mask photos, None for drawn masks alone.
    """

    bundle: Path
    models: Path | None = None
    templates: Path | None = None


class ViewTools:
    """The opened detector and view makers of one process. Not thread-safe.

    Raises BundleError or SynthesisError if a file is missing.
    """

    def __init__(self, assets: ViewAssets, families: Sequence[Family]) -> None:
        self.detector = BundleRunner(read(assets.bundle), threads=1)
        self._makers = {
            family: ViewMaker(family, models=assets.models, templates=assets.templates) for family in families
        }

    def maker(self, family: Family) -> ViewMaker:
        """Raises KeyError if the family was not opened."""
        return self._makers[family]


class Job(Protocol[R_co]):
    """One photo and what becomes of it. A job is sent to a worker process, so it must be picklable."""

    def run(self, tools: ViewTools) -> R_co:
        """Depends on the job alone, never on the jobs before it."""
        ...


def run_jobs(
    jobs: Sequence[Job[R]],
    assets: ViewAssets,
    *,
    families: Sequence[Family],
    workers: int,
    label: str,
    console: Console | None = None,
) -> Iterator[R]:
    """Yields the results in the order of the jobs, with a progress bar; the same for any `workers`.

    Raises BundleError or SynthesisError if a file is missing, before any process is started.
    """
    ViewTools(assets, families)
    return _results(jobs, assets, tuple(families), workers, label, console)


def _results(
    jobs: Sequence[Job[R]],
    assets: ViewAssets,
    families: tuple[Family, ...],
    workers: int,
    label: str,
    console: Console | None,
) -> Iterator[R]:
    with worker_pool(workers, _open, assets, families) as pool:
        results = in_order(pool, _run, jobs, at_once=JOBS_AT_ONCE)
        yield from track(results, label, total=len(jobs), console=console)


_TOOLS: list[ViewTools] = []


def _open(assets: ViewAssets, families: tuple[Family, ...]) -> None:
    """Runs once in each worker process."""
    _TOOLS.append(ViewTools(assets, families))


def _run(job: Job[R]) -> R:
    return job.run(_TOOLS[0])


def build_set(
    jobs: Sequence[Job[list[Made | Refused]]],
    out: Path,
    assets: ViewAssets,
    *,
    name: str,
    made_by: str,
    synthetic: str | None = None,
    families: Sequence[Family] = (),
    workers: int = 2,
    label: str = "making the set",
    console: Console | None = None,
) -> PreparedSet:
    """Writes the crops and refusals of all jobs, in their order, as a prepared set in `out`.

    `name`, `made_by`, `synthetic`: what the set says of itself. Raises BundleError or SynthesisError if a
    file is missing.
    """
    results = run_jobs(jobs, assets, families=families, workers=workers, label=label, console=console)
    info = SetInfo(name=name, alignment=ALIGNMENT, side_px=SIDE_PX, made_by=made_by, synthetic=synthetic)
    writer = SetWriter(out, info)
    for items in results:
        writer.take(items)
    return writer.close()
