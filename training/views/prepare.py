"""Detects, aligns, crops and masks a data set: cached, resumable, the same for any number of workers."""

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
from training.data.generated import read_generated
from training.data.loaded import Finding, Reader, Source
from training.data.prepared import SET_FILE, PreparedSet, SetInfo, read_prepared
from training.data.records import DataSetError
from training.data.set_writer import SetWriter
from training.data.splits import write_split
from training.views.parts import (
    NOTES_FILE,
    SPLITS,
    check_options,
    lock_folder,
    part_path,
    read_part,
    remove_parts,
)
from training.views.prepare_plan import PreparePlan, plan_of
from training.views.prepare_sample import Crop, WorkOptions
from training.views.prepare_workers import finished_parts

# Small enough that a killed run loses seconds, large enough that a file of it is worth writing.
PART_SAMPLES = 64
# Version of the processing: raised when the same options give other bytes.
RECIPE = "1"

# Samples done, and all of them.
OnPart = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareOptions:
    """`dataset`: its name in commands, for the record of how the set was made. `fold`: the one fold to
    prepare, counted from 1, with its split and roles in the rows; None for all samples. `validation`: how
    many training subjects become validation subjects, as the seed draws them. `workers` never changes the
    result.
    """

    dataset: str
    work: WorkOptions
    fold: int | None = None
    validation: int = 0
    workers: int = 1
    again: bool = False


class Notes(Strict):
    """Notes on a set: how faces were found, what the loader noticed, the digest of each split."""

    located: dict[str, int]
    findings: tuple[str, ...]
    splits: dict[str, str]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A finished set and its notes. `cached`: the set was there already."""

    found: PreparedSet
    notes: Notes
    cached: bool


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare_set(
    source: Source, out: Path, options: PrepareOptions, *, on_part: OnPart | None = None
) -> Prepared:
    """Makes the set, continues where a killed run stopped, or reads the finished set.

    `on_part(done, all)` counts samples. Raises DataSetError, BundleError or SynthesisError.
    """
    work = replace(
        options.work,
        choice=source.choice,
        aligned_to=source.aligned_to,
        generated=read_generated(source.root),
    )
    if work.alignment not in ALIGNMENTS:
        raise DataSetError(f"{work.alignment!r} is no alignment: choose from {', '.join(ALIGNMENTS)}")
    if work.aligned_to is not None:
        work = replace(work, bundle=None)
    elif work.bundle is None:
        raise DataSetError(
            f"{source.name} needs a detector: give a bundle (`halflight models pull` gets one)"
        )
    plan = plan_of(
        source,
        options.fold,
        part_samples=PART_SAMPLES,
        validation=options.validation,
        seed=options.work.seed,
    )
    if not plan.tasks:
        raise DataSetError(f"{source.name}: no picture to prepare")
    for task in plan.tasks:
        if work.masks.applies(task.sample.spectrum):
            work.masks.held_out(task.place)
    with lock_folder(out):
        check_options(out, _key(plan, work), again=options.again)
        if (out / SET_FILE).is_file():
            # A run that was killed at its very end left its parts.
            remove_parts(out)
            if on_part is not None:
                on_part(len(plan.tasks), len(plan.tasks))
            notes = Notes.model_validate_json((out / NOTES_FILE).read_bytes())
            return Prepared(read_prepared(out), notes, cached=True)
        _make_parts(plan, source.reader(), out, work, options.workers, on_part)
        return _assemble(plan, source.findings, out, _info(plan.name, options, work))


def _key(plan: PreparePlan, work: WorkOptions) -> dict[str, str]:
    """Returns what decides the bytes of the set."""
    key = {
        "recipe": RECIPE,
        "set": plan.name,
        "samples": plan.digest,
        "alignment": work.alignment,
        "min inter-eye px": f"{work.min_inter_eye_px:g}",
        "choice": work.choice,
        "part samples": str(plan.part_samples),
    }
    if work.bundle is not None:
        detector = read_bundle(work.bundle).manifest.detector
        key["detector"] = hashlib.sha256(detector.model_dump_json().encode()).hexdigest()
    if work.generated is not None:
        key["generator"] = work.generated.generator
    key |= work.masks.facts()
    if work.masks.masked != "none":
        key["seed"] = str(work.seed)
    return key


def _make_parts(
    plan: PreparePlan,
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


def _assemble(plan: PreparePlan, findings: Sequence[Finding], out: Path, info: SetInfo) -> Prepared:
    """Writes all parts in order as the set; its own file comes last."""
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
        writer.refuse(task.refused("missing", "the protocol names it, the disk lacks it"))
    splits = {}
    for fold in plan.folds:
        if fold.digest is not None:
            write_split(fold, out / SPLITS)
            splits[fold.name] = fold.digest
    notes = Notes(located=dict(sorted(located.items())), findings=tuple(map(str, findings)), splits=splits)
    write_whole(out / NOTES_FILE, (json.dumps(notes.model_dump(), indent=1) + "\n").encode())
    made = writer.close()
    remove_parts(out)
    return Prepared(made, notes, cached=False)


def _info(name: str, options: PrepareOptions, work: WorkOptions) -> SetInfo:
    masks = work.masks
    command = f"python -m training prepare {options.dataset} --alignment {work.alignment}"
    command += f" --fold {options.fold}" if options.fold is not None else ""
    command += f" --validation {options.validation}" if options.validation else ""
    said = [] if work.generated is None else [work.generated.synthetic]
    if masks.masked != "none":
        command += f" --masks {masks.masked} --engine {masks.engine} --mask-family {masks.family}"
        command += f" --seed {work.seed}"
        said.append(f"masks are drawn ({masks.engine} engine, {masks.family} family); nobody wore one")
    return SetInfo(
        name=name,
        alignment=work.alignment,
        side_px=ALIGNMENTS[work.alignment].side_px,
        made_by=command,
        synthetic="; ".join(said) or None,
    )
