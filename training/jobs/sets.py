"""Whom a job learns from and whom it is tried on: never the same subjects, never the test split."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from faces.bundle import BundleError
from faces.types import Condition, Spectrum
from training.data.assign_splits import held_out
from training.data.pairs import paired_subjects
from training.data.prepared import SET_FILE, PreparedSet, Row, Split, read_prepared
from training.data.records import DataSetError
from training.evaluation.metrics import ERRORS_NEEDED, supports_fmr
from training.jobs.enrolled_set import enrolled_set
from training.jobs.job_directory import CannotDo
from training.jobs.photo_set import photo_set
from training.jobs.request import Request
from training.networks.checkpoint import load_network
from training.synthesis.assets import SynthesisError
from training.synthesis.rendered.family import render_family
from training.synthesis.rendered.model import FaceKitError, load_model
from training.synthesis.rendered.pictures import Views

# The loosest FMR that a threshold may be calibrated at; a smoke run takes what its few subjects support.
LOOSEST_FMR = 1e-2
VIS_UNMASKED = Condition(Spectrum.VIS, masked=False)
HELD_SHARE = 0.2
SMOKE_SIZE_PX = 96
SMOKE: tuple[tuple[Split, int, Views], ...] = (
    ("train", 16, Views(vis=2, nir=1, nir_masked=2)),
    ("validation", 24, Views(vis=2, nir=1, nir_masked=1)),
)
Tell = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Sets:
    """`learn`: its train split is learned from. `held`: its validation split is tried on.

    `targets`: the FMRs that thresholds are wanted at; empty: the usual ones.
    """

    learn: PreparedSet
    held: PreparedSet
    targets: tuple[float, ...] = ()


def needed_subjects(fmr: float) -> int:
    """The fewest subjects whose pairs support a threshold at this FMR, by the rule of 30."""
    count = math.floor((1 + math.sqrt(1 + 8 * ERRORS_NEEDED / fmr)) / 2)
    return count if supports_fmr(count, fmr) else count + 1


def supported_fmr(subjects: int) -> float:
    """The strictest FMR, rounded up to two digits, that so few subjects support."""
    least = 2 * ERRORS_NEEDED / (subjects * (subjects - 1))
    digit = 10.0 ** (math.floor(math.log10(least)) - 1)
    return float(f"{math.ceil(least / digit) * digit:.2g}")


def sets_of(request: Request, private: Path, tell: Tell) -> Sets:
    """`private`: where crops of enrolled or labelled photos may be written.

    Raises CannotDo where the set cannot be used.
    """
    try:
        if request.smoke:
            return _rendered(request, tell)
        tell(0.0, "reads the set")
        if request.enrolled:
            return _with_held_out(enrolled_set(request.prepared, private / "set"), request)
        if (request.prepared / SET_FILE).is_file():
            return _with_held_out(read_prepared(request.prepared), request)
        return _with_held_out(_photos(request, private, tell), request)
    except (DataSetError, BundleError, SynthesisError, FaceKitError) as error:
        raise CannotDo(str(error)) from error


def _with_held_out(prepared: PreparedSet, request: Request) -> Sets:
    """The set with a validation split: its own, or one drawn from the training subjects."""
    least = needed_subjects(LOOSEST_FMR)
    roles = (prepared.select(split="validation", role=role) for role in ("gallery", "probe"))
    if not all(len(rows) for rows in roles):
        subjects = len(paired_subjects(prepared, "train"))
        count = max(least, round(subjects * HELD_SHARE))
        if count > subjects // 2:
            raise CannotDo(
                f"{prepared.info.name} has no validation split, and {subjects} training subjects with two"
                f" photos are too few to hold out the {least} that a threshold at FMR {LOOSEST_FMR:g} needs"
            )
        prepared = _with_vis_probes(held_out(prepared, count, seed=request.seed), prepared)
    enrolled = prepared.select(split="validation", role="gallery")
    subjects = len({prepared.rows[int(i)].subject for i in enrolled})
    if subjects < least:
        raise CannotDo(
            f"{prepared.info.name}: {subjects} validation subjects support no threshold at FMR"
            f" {LOOSEST_FMR:g}: it takes {least}"
        )
    if not _second_photos(prepared):
        raise CannotDo(
            f"{prepared.info.name}: no held-out subject has a second unmasked visible-light photo, and"
            " thresholds for visible-light probes cannot be had without one"
        )
    return Sets(prepared, prepared)


def _with_vis_probes(prepared: PreparedSet, before: PreparedSet) -> PreparedSet:
    """What is left of the held-out subjects' unmasked VIS photos as probes: their thresholds need some."""
    held = {row.subject for row in prepared.rows if row.split == "validation"}

    def placed(row: Row, was: Row) -> Row:
        left = was.split == "train" and row.split == "none" and row.subject in held
        if not left or row.masked or row.spectrum is not Spectrum.VIS:
            return row
        return row.model_copy(update={"split": "validation", "role": "probe"})

    return replace(prepared, rows=tuple(map(placed, prepared.rows, before.rows)))


def _second_photos(prepared: PreparedSet) -> int:
    """How many validation subjects have unmasked VIS photos of two sources."""
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for row in prepared.rows:
        if row.split == "validation" and row.role != "none" and row.condition == VIS_UNMASKED:
            sources[row.subject].add(row.source)
    return sum(len(found) > 1 for found in sources.values())


def _photos(request: Request, private: Path, tell: Tell) -> PreparedSet:
    """Aligned as the network wants it that training starts from."""
    _, backbone = load_network(request.trunk)
    return photo_set(
        request.prepared,
        private / "set",
        bundle=request.base,
        alignment=backbone.alignment,
        on_part=lambda done, all_: tell(done / all_, f"photo {done} of {all_}"),
    )


def _rendered(request: Request, tell: Tell) -> Sets:
    """Rendered once for all smoke jobs of a machine; an interrupted rendering goes on."""
    assert request.facekit is not None  # noqa: S101 - the service names it for a smoke run
    model = load_model(request.facekit)
    parts = []
    for number, (split, subjects, views) in enumerate(SMOKE):
        tell(number / len(SMOKE), f"renders {subjects} subjects")
        try:
            part = read_prepared(request.prepared / split)
        except DataSetError:
            part = render_family(
                request.prepared / split,
                model,
                subjects=subjects,
                views=views,
                seed=number + 1,
                split=split,
                size_px=SMOKE_SIZE_PX,
                show_progress=False,
            )
        parts.append(part)
    learn, held = parts
    return Sets(learn, held, (supported_fmr(SMOKE[1][1]),))
