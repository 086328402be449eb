"""Prepares the parts of a set in this process or in others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faces.align import ALIGNMENTS
from training.data.loaded import Reader
from training.data.records import DataSetError
from training.engine.worker_pool import in_order, worker_pool
from training.views.parts import write_part
from training.views.prepare_sample import SamplePreparer, Task, WorkOptions

TasksOf = Callable[[int], Sequence[Task]]


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    tasks: Sequence[Task]


def finished_parts(
    waiting: Sequence[int], tasks_of: TasksOf, reader: Reader, out: Path, work: WorkOptions, *, workers: int
) -> Iterator[int]:
    """Yields the numbers of parts as they are written. Raises DataSetError if a worker process dies."""
    if not waiting:
        return
    parts = (_Part(number, tasks_of(number)) for number in waiting)
    side_px = ALIGNMENTS[work.alignment].side_px
    if workers <= 1 or len(waiting) == 1:
        preparer = SamplePreparer(reader, work)
        for part in parts:
            yield _write(preparer, out, side_px, part)
        return
    pool = worker_pool(min(workers, len(waiting)), _open, reader, work)
    try:
        # Only a few are handed out at a time: a set of millions is not queued at once.
        yield from in_order(pool, partial(_write_here, out, side_px), parts, at_once=2 * workers)
    except BrokenProcessPool as error:
        raise DataSetError(
            "a worker process died (too little memory?): run again to go on, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write(preparer: SamplePreparer, out: Path, side_px: int, part: _Part) -> int:
    made = [item for task in part.tasks for item in preparer.prepare(task)]
    write_part(out, part.number, made, side_px=side_px)
    return part.number


_PREPARERS: list[SamplePreparer] = []


def _open(reader: Reader, work: WorkOptions) -> None:
    """Runs once in each worker process."""
    _PREPARERS.append(SamplePreparer(reader, work))


def _write_here(out: Path, side_px: int, part: _Part) -> int:
    return _write(_PREPARERS[0], out, side_px, part)
