"""Plans which samples of a data set are prepared, and in which parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from training.data.loaded import Place, Source, places_of
from training.data.records import DataSetError, Fold, Sample
from training.views.prepare_sample import Task


@dataclass(frozen=True, slots=True)
class PreparePlan:
    """The samples of a set in parts of `part_samples`, those that the disk lacks, and the folds."""

    name: str
    tasks: tuple[Task, ...]
    absent: tuple[Task, ...]
    folds: tuple[Fold, ...]
    part_samples: int

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-len(self.tasks) // self.part_samples)

    def part(self, number: int) -> tuple[Task, ...]:
        """The samples of one part."""
        return self.tasks[number * self.part_samples : (number + 1) * self.part_samples]

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the pixels that a sample's crop depends on."""
        digest = hashlib.sha256()
        for task in (*self.tasks, *self.absent):
            s, place = task.sample, task.place
            digest.update(f"{s.path}\t{s.subject}\t{s.spectrum}\t{s.eyes}\t{place}\n".encode())
        return digest.hexdigest()


def plan_of(source: Source, fold: int | None, *, part_samples: int) -> PreparePlan:
    """Plans the samples of a fold, or of all. Raises DataSetError if the set has no such fold."""
    if fold is None:
        tasks = tuple(Task(s, source.place(s)) for s in source.samples())
        return PreparePlan(source.name, tasks, _absent(source), tuple(source.folds()), part_samples)
    folds = source.folds()
    if not 1 <= fold <= len(folds):
        raise DataSetError(f"{source.name} has {len(folds)} folds: there is no fold {fold}")
    chosen = folds[fold - 1]
    places = places_of(chosen)
    by_path: dict[str, Sample] = {str(s.path): s for s in (*chosen.train, *chosen.gallery, *chosen.probes)}
    tasks = tuple(Task(s, places[s.path]) for s in by_path.values())
    return PreparePlan(chosen.name, tasks, _absent(source), (chosen,), part_samples)


def _absent(source: Source) -> tuple[Task, ...]:
    return tuple(Task(s, Place()) for s in source.absent)
