"""Builds prepared sets from photos: worker processes run the jobs, one process writes in their order.

A job is one photo. What becomes of it - which conditions, which family, which split and role - stands
beside the command that makes the set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from rich.console import Console

from faces.bundle import file_sha256, read
from training.data.prepared import PreparedSet, Refused, SetInfo
from training.data.set_writer import Made, SetWriter
from training.engine.progress import Reporter
from training.engine.worker_pool import in_order, worker_pool
from training.networks.onnx_runner import BundleRunner
from training.synthesis.assets import find_assets
from training.views.conditions import Family, ViewMaker
from training.views.found_faces import ALIGNMENT, SIDE_PX
from training.views.job_parts import JobParts, jobs_key

# Jobs that are handed to the workers ahead of the one that is read next.
JOBS_AT_ONCE = 32
# Small enough that a killed build loses seconds.
PART_JOBS = 16

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


SetJob: TypeAlias = Job[list[Made | Refused]]


def run_jobs(
    jobs: Sequence[Job[R]],
    assets: ViewAssets,
    *,
    families: Sequence[Family],
    workers: int,
    label: str,
    console: Console | None = None,
) -> Iterator[R]:
    """Yields the results in the order of the jobs and shows how far it is; the same for any `workers`.

    `console`: where progress is shown, else stderr. Raises BundleError or SynthesisError if a file is
    missing, before any process is started.
    """
    ViewTools(assets, families)
    return _shown(_results(jobs, assets, tuple(families), workers), len(jobs), label, console)


def _shown(results: Iterator[R], total: int, label: str, console: Console | None) -> Iterator[R]:
    with Reporter(console or Console(stderr=True)) as progress:
        progress.show(label, 0, total)
        for done, result in enumerate(results, 1):
            yield result
            progress.show(label, done, total)


def _results(
    jobs: Sequence[Job[R]], assets: ViewAssets, families: tuple[Family, ...], workers: int
) -> Iterator[R]:
    with worker_pool(min(workers, len(jobs)), _open, assets, families) as pool:
        yield from in_order(pool, _run, jobs, at_once=JOBS_AT_ONCE)


_TOOLS: list[ViewTools] = []


def _open(assets: ViewAssets, families: tuple[Family, ...]) -> None:
    """Runs once in each worker process."""
    _TOOLS.append(ViewTools(assets, families))


def _run(job: Job[R]) -> R:
    return job.run(_TOOLS[0])


@dataclass(frozen=True)
class _Part:
    """The jobs of one part."""

    jobs: Sequence[SetJob]

    def run(self, tools: ViewTools) -> list[Made | Refused]:
        return [item for job in self.jobs for item in job.run(tools)]


def build_set(
    jobs: Sequence[SetJob],
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

    A killed build goes on where it was; the set is the same for any `workers`. `name`, `made_by`,
    `synthetic`: what the set says of itself. `console`: where progress is shown, else stderr. Raises
    BundleError or SynthesisError if a file is missing, before any process is started.
    """
    ViewTools(assets, families)
    info = SetInfo(name=name, alignment=ALIGNMENT, side_px=SIDE_PX, made_by=made_by, synthetic=synthetic)
    out.mkdir(parents=True, exist_ok=True)
    parts = JobParts(out, jobs_key(jobs, info.model_dump_json().encode(), *_asset_facts(assets, families)))
    numbers = range(-(-len(jobs) // PART_JOBS))
    with Reporter(console or Console(stderr=True)) as progress:
        _make_parts(jobs, numbers, parts, assets, tuple(families), workers, label, progress)
    writer = SetWriter(out, info)
    for number in numbers:
        writer.take(parts.read(number))
    made = writer.close()
    parts.remove()
    return made


def _make_parts(
    jobs: Sequence[SetJob],
    numbers: range,
    parts: JobParts,
    assets: ViewAssets,
    families: tuple[Family, ...],
    workers: int,
    label: str,
    progress: Reporter,
) -> None:
    """Runs the jobs of the parts that an earlier build did not finish."""
    by_part = [_Part(jobs[number * PART_JOBS : (number + 1) * PART_JOBS]) for number in numbers]
    waiting = [number for number in numbers if not parts.path(number).is_file()]
    done = len(jobs) - sum(len(by_part[number].jobs) for number in waiting)
    progress.show(label, done, len(jobs))
    if not waiting:
        return
    results = _results([by_part[number] for number in waiting], assets, families, workers)
    for number, items in zip(waiting, results, strict=True):
        parts.write(number, items, side_px=SIDE_PX)
        done += len(by_part[number].jobs)
        progress.show(label, done, len(jobs))


def _asset_facts(assets: ViewAssets, families: Sequence[Family]) -> Iterator[bytes]:
    """What of the files decides the crops."""
    yield read(assets.bundle).manifest.detector.model_dump_json().encode()
    yield repr(tuple(families)).encode()
    if families:
        found = find_assets(assets.models)
        yield file_sha256(found.network).encode()
        yield file_sha256(found.canonical).encode()
    if assets.templates is not None:
        for path in sorted(assets.templates.rglob("*")):
            if path.is_file():
                yield f"{path.name} {file_sha256(path)}".encode()
