"""Plans which samples of a data set are prepared, and in which parts."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace

from faces.types import Spectrum
from training.data.loaded import Place, Source, places_of
from training.data.records import DataSetError, Fold, Sample
from training.data.splits import drawn
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


def plan_of(
    source: Source, fold: int | None, *, part_samples: int, validation: int = 0, seed: int = 0
) -> PreparePlan:
    """Plans the samples of a fold, or of all; `validation` training subjects become validation subjects.

    Raises DataSetError if the set has no such fold, or too few training subjects.
    """
    plan = _plan_of(source, fold, part_samples)
    if not validation:
        return plan
    return replace(plan, tasks=_held_out(plan, validation, seed))


def _held_out(plan: PreparePlan, count: int, seed: int) -> tuple[Task, ...]:
    """The first VIS sample of each chosen subject is its reference; every other sample is a probe."""
    spectra: dict[str, set[Spectrum]] = defaultdict(set)
    for task in plan.tasks:
        if task.place.split == "train":
            spectra[task.sample.subject].add(task.sample.spectrum)
    usable = sorted(name for name, found in spectra.items() if len(found) == len(Spectrum))
    if count >= len(usable):
        raise DataSetError(
            f"{plan.name}: {count} of {len(usable)} training subjects cannot be held out for validation"
            + ("; prepare one fold (--fold 1), which has training subjects" if not spectra else "")
        )
    chosen = set(drawn(usable, count, seed=seed, salt="validation subjects"))
    enrolled: set[str] = set()
    tasks = []
    for task in plan.tasks:
        subject = task.sample.subject
        if task.place.split == "train" and subject in chosen:
            first = task.sample.spectrum is Spectrum.VIS and subject not in enrolled
            if first:
                enrolled.add(subject)
            task = replace(task, place=Place("validation", "gallery" if first else "probe"))
        tasks.append(task)
    return tuple(tasks)


def _plan_of(source: Source, fold: int | None, part_samples: int) -> PreparePlan:
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
