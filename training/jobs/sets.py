"""Builds the training and validation sets of a retraining: no common subjects, nothing of the test split."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from faces.bundle import BundleError
from faces.rates.metrics import ERRORS_NEEDED, supports_fmr
from faces.types import Condition, Spectrum
from training.data.assign_splits import assign_validation
from training.data.pairs import paired_subjects
from training.data.prepared import SET_FILE, PreparedSet, Row, Split, read_prepared
from training.data.records import DataSetError
from training.jobs.enrolled_set import enrolled_set
from training.jobs.job_directory import JobFailed
from training.jobs.photo_set import photo_set
from training.jobs.request import RetrainRequest
from training.networks.checkpoint import load_network
from training.synthesis.assets import SynthesisError
from training.synthesis.rendered.family import render_family
from training.synthesis.rendered.model import FaceKitError, load_model
from training.synthesis.rendered.pictures import Views

# Every set must support a threshold at this FMR; a smoke run takes what its few subjects support.
LOOSEST_FMR = 1e-2
VIS_UNMASKED = Condition(Spectrum.VIS, masked=False)
HELD_SHARE = 0.2
SMOKE_SIZE_PX = 96
SMOKE: tuple[tuple[Split, int, Views], ...] = (
    ("train", 16, Views(vis=2, nir=1, nir_masked=2)),
    ("validation", 24, Views(vis=2, nir=1, nir_masked=1)),
)
OnProgress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class RetrainSets:
    """The train split of `train` is trained on, the validation split of `validation` is evaluated.

    `fmr_targets` are the FMRs to calibrate thresholds at; if empty, the usual ones.
    """

    train: PreparedSet
    validation: PreparedSet
    fmr_targets: tuple[float, ...] = ()


def needed_subjects(fmr: float) -> int:
    """Returns the smallest number of subjects that supports a threshold at this FMR, by the rule of 30."""
    count = math.floor((1 + math.sqrt(1 + 8 * ERRORS_NEEDED / fmr)) / 2)
    return count if supports_fmr(count, fmr) else count + 1


def supported_fmr(subjects: int) -> float:
    """Returns the strictest FMR that this number of subjects supports, rounded up to two digits."""
    least = 2 * ERRORS_NEEDED / (subjects * (subjects - 1))
    digit = 10.0 ** (math.floor(math.log10(least)) - 1)
    return float(f"{math.ceil(least / digit) * digit:.2g}")


def build_sets(request: RetrainRequest, private: Path, on_progress: OnProgress) -> RetrainSets:
    """Builds the sets that a request names; writes crops of enrolled or labelled photos below `private`.

    Raises JobFailed if the set cannot be used.
    """
    try:
        if request.smoke:
            return _rendered(request, on_progress)
        on_progress(0.0, "reads the set")
        if request.enrolled:
            return _with_held_out(enrolled_set(request.prepared, private / "set"), request)
        if (request.prepared / SET_FILE).is_file():
            return _with_held_out(read_prepared(request.prepared), request)
        return _with_held_out(_photos(request, private, on_progress), request)
    except (DataSetError, BundleError, SynthesisError, FaceKitError) as error:
        raise JobFailed(str(error)) from error


def _with_held_out(prepared: PreparedSet, request: RetrainRequest) -> RetrainSets:
    """Returns the set with its own validation split, or with one drawn from the training subjects."""
    least = needed_subjects(LOOSEST_FMR)
    roles = (prepared.select(split="validation", role=role) for role in ("gallery", "probe"))
    if not all(len(rows) for rows in roles):
        subjects = len(paired_subjects(prepared, "train"))
        count = max(least, round(subjects * HELD_SHARE))
        if count > subjects // 2:
            raise JobFailed(
                f"{prepared.info.name} has no validation split, and {subjects} training subjects with two"
                f" photos are too few to hold out the {least} that a threshold at FMR {LOOSEST_FMR:g} needs"
            )
        prepared = _with_vis_probes(assign_validation(prepared, count, seed=request.seed), prepared)
    enrolled = prepared.select(split="validation", role="gallery")
    subjects = len({prepared.rows[int(i)].subject for i in enrolled})
    if subjects < least:
        raise JobFailed(
            f"{prepared.info.name}: {subjects} validation subjects support no threshold at FMR"
            f" {LOOSEST_FMR:g}: it takes {least}"
        )
    if not _second_photos(prepared):
        raise JobFailed(
            f"{prepared.info.name}: no held-out subject has a second unmasked visible-light photo, and"
            " thresholds for visible-light probes cannot be had without one"
        )
    return RetrainSets(prepared, prepared)


def _with_vis_probes(prepared: PreparedSet, before: PreparedSet) -> PreparedSet:
    """Makes probes of the unmasked VIS photos that holding out left unused: VIS thresholds need them."""
    held = {row.subject for row in prepared.rows if row.split == "validation"}

    def placed(row: Row, was: Row) -> Row:
        left = was.split == "train" and row.split == "none" and row.subject in held
        if not left or row.masked or row.spectrum is not Spectrum.VIS:
            return row
        return row.model_copy(update={"split": "validation", "role": "probe"})

    return replace(prepared, rows=tuple(map(placed, prepared.rows, before.rows)))


def _second_photos(prepared: PreparedSet) -> int:
    """Counts the validation subjects that have unmasked VIS photos of two sources."""
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for row in prepared.rows:
        if row.split == "validation" and row.role != "none" and row.condition == VIS_UNMASKED:
            sources[row.subject].add(row.source)
    return sum(len(found) > 1 for found in sources.values())


def _photos(request: RetrainRequest, private: Path, on_progress: OnProgress) -> PreparedSet:
    """Prepares labelled photos on the alignment of the network that training starts from."""
    _, backbone = load_network(request.trunk)
    return photo_set(
        request.prepared,
        private / "set",
        bundle=request.base,
        alignment=backbone.alignment,
        on_part=lambda done, count: on_progress(done / count, f"photo {done} of {count}"),
    )


def _rendered(request: RetrainRequest, on_progress: OnProgress) -> RetrainSets:
    """Renders the smoke sets once for all smoke jobs of a machine; resumes an interrupted rendering."""
    assert request.facekit is not None  # noqa: S101 - the service names it for a smoke run
    model = load_model(request.facekit)
    parts = []
    for number, (split, subjects, views) in enumerate(SMOKE):
        on_progress(number / len(SMOKE), f"renders {subjects} subjects")
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
    train, validation = parts
    return RetrainSets(train, validation, (supported_fmr(SMOKE[1][1]),))
