"""Evaluates a bundle on labelled photos: the training side of POST /admin/evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from faces.bundle import BundleError, read
from faces.strict import Strict
from faces.types import Spectrum
from training.data.generic import load_generic
from training.data.loaded import LoadedSet, Place
from training.data.prepared import SET_FILE, PreparedSet, Split, read_prepared
from training.data.records import DataSetError
from training.evaluation.conditions import Asked
from training.evaluation.evaluate import Evaluation, evaluate_split
from training.evaluation.plots import Curve
from training.evaluation.report import as_json, write_report
from training.jobs.job_directory import CannotDo, Journal
from training.jobs.job_files import PRIVATE, Result
from training.networks.encoders import load_encoder
from training.views.prepare import PrepareOptions, prepare_set
from training.views.prepare_sample import WorkOptions

REPORT = "report"
CURVE_POINTS = 200
# Where each step begins, as a share of the whole.
COMPARING = 0.5
SPLITS: tuple[Split, ...] = ("test", "validation")


class AssessRequest(Strict):
    """`prepared`: a prepared set, or labelled photos. `base`: the bundle that is asked."""

    dataset: str
    seed: int
    prepared: Path
    base: Path


def measured(request: AssessRequest, mine: Journal) -> Result:
    """Leaves the report in the job's directory; figures and curves are the result's metrics.

    Raises CannotDo.
    """
    try:
        prepared, split = _set(request, mine)
        mine.tell(COMPARING, "evaluating", f"{len(prepared.rows)} crops")
        asked = Asked(seed=request.seed)
        evaluation, curves = evaluate_split(load_encoder(request.base), prepared, split, asked=asked)
    except (DataSetError, BundleError, ValueError) as error:
        raise CannotDo(str(error)) from error
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    write_report(mine.directory / REPORT, evaluation, curves, command="POST /admin/evaluate", date=date)
    metrics = as_json(evaluation) | {"det": _told(curves.det), "cmc": _told(curves.cmc)}
    return Result(state="succeeded", message=_sentence(evaluation), metrics=metrics)


def _set(request: AssessRequest, mine: Journal) -> tuple[PreparedSet, Split]:
    """The set and which of its splits has a gallery and probes."""
    if not (request.prepared / SET_FILE).is_file():
        work = WorkOptions(alignment=read(request.base).manifest.encoder.alignment, bundle=request.base)
        made = prepare_set(
            _enrolled_and_asked(load_generic(request.prepared, strict=False)),
            mine.directory / PRIVATE / "set",
            PrepareOptions(dataset="generic", work=work),
            on_part=lambda done, all_: mine.tell(COMPARING * done / all_, "data", f"photo {done} of {all_}"),
        )
        return made.found, "test"
    prepared = read_prepared(request.prepared)
    for split in SPLITS:
        if all(len(prepared.select(split=split, role=role)) for role in ("gallery", "probe")):
            return prepared, split
    raise CannotDo(f"{prepared.info.name} has no split with a gallery and probes")


def _enrolled_and_asked(source: LoadedSet) -> LoadedSet:
    """The roles that a manifest gives, or else VIS photos as the gallery and NIR ones as probes."""
    given = {p: place for p, place in source.places.items() if place.role != "none"}
    places = {
        sample.path: given[sample.path]
        if sample.path in given
        else Place("test", "gallery" if sample.spectrum is Spectrum.VIS else "probe")
        for sample in source.samples()
        if not given or sample.path in given
    }
    places = {path: Place("test", place.role) for path, place in places.items()}
    return replace(source, places=places, all_folds=())


def _told(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Each line with so few points that it can be sent; its ends are kept."""
    told = []
    for curve in curves:
        chosen = np.unique(np.linspace(0, len(curve.x) - 1, min(CURVE_POINTS, len(curve.x))).astype(int))
        x, y = np.asarray(curve.x)[chosen], np.asarray(curve.y)[chosen]
        told.append({"condition": curve.name, "x": _rounded(x), "y": _rounded(y)})
    return told


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]


def _sentence(evaluation: Evaluation) -> str:
    parts = [
        f"{one.condition}: rank-1 {100 * one.figures.rank1.value:.1f} % of {one.figures.probes} probes"
        for one in evaluation.conditions
    ]
    return "; ".join(parts)
