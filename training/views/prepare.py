"""Detect, align, crop and mask a data set: one command, cached, resumable, the same for any workers."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from faces.align import ALIGNMENTS
from faces.bundle import read as read_bundle
from faces.files import write_whole
from faces.strict import Strict
from training.data.loaded import Finding, Place, Reader, Source, places_of
from training.data.prepared import SET_FILE, PreparedSet, SetInfo, SetWriter, read_prepared
from training.data.records import DataSetError, Fold, Sample
from training.data.splits import write_split
from training.views.parts import (
    NOTES_FILE,
    SPLITS,
    close_journal,
    only_one,
    open_journal,
    part_path,
    read_part,
)
from training.views.prepare_work import Crop, Task, WorkOptions, refused
from training.views.prepare_workers import finished_parts

# Small enough that a killed run loses seconds, large enough that a file of it is worth writing.
PART_SAMPLES = 64
# Of the way pictures are treated: raised when the same options give other bytes.
RECIPE = "1"

# Samples done, and all of them.
OnPart = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """`dataset`: its name for commands, to write down how the set was made. `fold`: prepare one fold
    alone, counted from 1, with its split and roles in the rows. `workers` never changes the result.
    """

    dataset: str
    work: WorkOptions
    fold: int | None = None
    workers: int = 1
    again: bool = False


class Notes(Strict):
    """What else is to be known of a set: how faces were found, findings, the digest of each split."""

    located: dict[str, int]
    findings: tuple[str, ...]
    splits: dict[str, str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A finished set and its notes. `cached`: it was there already."""

    found: PreparedSet
    notes: Notes
    cached: bool


def cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class _Plan:
    name: str
    tasks: tuple[Task, ...]
    absent: tuple[Task, ...]
    folds: tuple[Fold, ...]

    @property
    def parts(self) -> int:
        return -(-len(self.tasks) // PART_SAMPLES)

    def part(self, number: int) -> tuple[Task, ...]:
        return self.tasks[number * PART_SAMPLES : (number + 1) * PART_SAMPLES]

    @property
    def digest(self) -> str:
        """Of everything that a sample's crop depends on but its pixels."""
        digest = hashlib.sha256()
        for task in (*self.tasks, *self.absent):
            s, place = task.sample, task.place
            digest.update(f"{s.path}\t{s.subject}\t{s.spectrum}\t{s.eyes}\t{place}\n".encode())
        return digest.hexdigest()


def plan_of(source: Source, fold: int | None) -> _Plan:
    """What is to be done. Raises DataSetError for a fold that the set does not have."""
    if fold is None:
        tasks = tuple(Task(s, source.place(s)) for s in source.samples())
        return _Plan(source.name, tasks, _absent(source), tuple(source.folds()))
    folds = source.folds()
    if not 1 <= fold <= len(folds):
        raise DataSetError(f"{source.name} has {len(folds)} folds: there is no fold {fold}")
    chosen = folds[fold - 1]
    places = places_of(chosen)
    by_path: dict[str, Sample] = {str(s.path): s for s in (*chosen.train, *chosen.gallery, *chosen.probes)}
    tasks = tuple(Task(s, places[s.path]) for s in by_path.values())
    return _Plan(chosen.name, tasks, _absent(source), (chosen,))


def _absent(source: Source) -> tuple[Task, ...]:
    return tuple(Task(s, Place()) for s in source.absent)


def prepare_set(
    source: Source, out: Path, options: PrepareOptions, *, on_part: OnPart | None = None
) -> Prepared:
    """Make the set, or go on where a killed run stopped, or read what is finished.

    `on_part(done, all)` counts samples. Raises DataSetError, BundleError, SynthesisError.
    """
    work = replace(options.work, choice=source.choice, aligned_to=source.aligned_to)
    if work.alignment not in ALIGNMENTS:
        raise DataSetError(f"{work.alignment!r} is no alignment: choose from {', '.join(ALIGNMENTS)}")
    if work.aligned_to is not None:
        work = replace(work, bundle=None)
    elif work.bundle is None:
        raise DataSetError(
            f"{source.name} needs a detector: give a bundle (`halflight models pull` gets one)"
        )
    plan = plan_of(source, options.fold)
    if not plan.tasks:
        raise DataSetError(f"{source.name}: no picture to prepare")
    for task in plan.tasks:
        if work.masks.applies(task.sample.spectrum):
            work.masks.held_out(task.place)
    with only_one(out):
        open_journal(out, _key(plan, work), again=options.again)
        if (out / SET_FILE).is_file():
            # A run that was killed at its very end leaves its parts.
            close_journal(out)
            if on_part is not None:
                on_part(len(plan.tasks), len(plan.tasks))
            notes = Notes.model_validate_json((out / NOTES_FILE).read_bytes())
            return Prepared(read_prepared(out), notes, cached=True)
        _make_parts(plan, source.reader(), out, work, options.workers, on_part)
        return _assemble(plan, source.findings, out, _info(plan.name, options, work))


def _key(plan: _Plan, work: WorkOptions) -> dict[str, str]:
    """What decides the bytes of the set."""
    key = {
        "recipe": RECIPE,
        "set": plan.name,
        "samples": plan.digest,
        "alignment": work.alignment,
        "min inter-eye px": f"{work.min_inter_eye_px:g}",
        "choice": work.choice,
        "part samples": str(PART_SAMPLES),
    }
    if work.bundle is not None:
        detector = read_bundle(work.bundle).manifest.detector
        key["detector"] = hashlib.sha256(detector.model_dump_json().encode()).hexdigest()
    key |= work.masks.described()
    if work.masks.masked != "none":
        key["seed"] = str(work.seed)
    return key


def _make_parts(
    plan: _Plan,
    reader: Reader,
    out: Path,
    work: WorkOptions,
    workers: int,
    on_part: OnPart | None,
) -> None:
    waiting = [number for number in range(plan.parts) if not part_path(out, number).is_file()]
    done = len(plan.tasks) - sum(len(plan.part(number)) for number in waiting)
    if on_part is not None:
        on_part(done, len(plan.tasks))
    for number in finished_parts(waiting, plan.part, reader, out, work, workers=workers):
        done += len(plan.part(number))
        if on_part is not None:
            on_part(done, len(plan.tasks))


def _assemble(plan: _Plan, findings: Sequence[Finding], out: Path, info: SetInfo) -> Prepared:
    """All parts in order -> the set; its own file comes last."""
    writer = SetWriter(out, info)
    located: Counter[str] = Counter()
    for number in range(plan.parts):
        for item in read_part(out, number):
            if isinstance(item, Crop):
                located[item.how] += 1
                writer.add(item.row, item.pixels)
            else:
                writer.refuse(item)
    for task in plan.absent:
        writer.refuse(refused(task, "missing", "the protocol names it, the disk lacks it"))
    splits = {}
    for fold in plan.folds:
        if fold.digest is not None:
            write_split(fold, out / SPLITS)
            splits[fold.name] = fold.digest
    notes = Notes(located=dict(sorted(located.items())), findings=tuple(map(str, findings)), splits=splits)
    write_whole(out / NOTES_FILE, (json.dumps(notes.model_dump(), indent=1) + "\n").encode())
    made = writer.close()
    close_journal(out)
    return Prepared(made, notes, cached=False)


def _info(name: str, options: PrepareOptions, work: WorkOptions) -> SetInfo:
    masks = work.masks
    command = f"python -m training prepare {options.dataset} --alignment {work.alignment}"
    command += f" --fold {options.fold}" if options.fold is not None else ""
    synthetic = None
    if masks.masked != "none":
        command += f" --masks {masks.masked} --engine {masks.engine} --mask-family {masks.family}"
        command += f" --seed {work.seed}"
        synthetic = f"masks are drawn ({masks.engine} engine, {masks.family} family); nobody wore one"
    return SetInfo(
        name=name,
        alignment=work.alignment,
        side_px=ALIGNMENTS[work.alignment].side_px,
        made_by=command,
        synthetic=synthetic,
    )
