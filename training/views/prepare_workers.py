"""Parts of a set, made by this process or by others, in whatever order they finish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from faces.align import ALIGNMENTS
from training.data.loaded import Reader
from training.data.records import DataSetError
from training.engine.worker_pool import worker_pool
from training.views.parts import write_part
from training.views.prepare_work import Task, WorkOptions, Workshop

TasksOf = Callable[[int], Sequence[Task]]


def finished_parts(
    waiting: Sequence[int], tasks_of: TasksOf, reader: Reader, out: Path, work: WorkOptions, *, workers: int
) -> Iterator[int]:
    """The numbers of parts as they are written. Raises DataSetError where a worker process died."""
    if not waiting:
        return
    if workers <= 1 or len(waiting) == 1:
        workshop = Workshop(reader, work)
        for number in waiting:
            yield _do_part(workshop, tasks_of(number), out, number, work.alignment)
        return
    pool = worker_pool(min(workers, len(waiting)), _open_workshop, reader, work)
    try:
        ahead = iter(waiting)
        running: set[Future[int]] = set()
        while True:
            # Only a few are handed out at a time: a set of millions is not queued at once.
            for number in ahead:
                running.add(pool.submit(_do_part_here, tasks_of(number), out, number, work.alignment))
                if len(running) >= 2 * workers:
                    break
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise DataSetError(
            "a worker process died (too little memory?): run again to go on, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _do_part(workshop: Workshop, tasks: Sequence[Task], out: Path, number: int, alignment: str) -> int:
    made = [item for task in tasks for item in workshop.make(task)]
    write_part(out, number, made, side_px=ALIGNMENTS[alignment].side_px)
    return number


_WORKSHOPS: list[Workshop] = []


def _open_workshop(reader: Reader, work: WorkOptions) -> None:
    """In each worker process, once."""
    _WORKSHOPS.append(Workshop(reader, work))


def _do_part_here(tasks: Sequence[Task], out: Path, number: int, alignment: str) -> int:
    return _do_part(_WORKSHOPS[0], tasks, out, number, alignment)
