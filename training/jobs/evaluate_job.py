"""Evaluates a bundle on labelled probes, for POST /admin/evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from faces.bundle import BundleError, read
from faces.types import Spectrum
from training.data.generic import load_generic
from training.data.loaded import LoadedSet, Place
from training.data.prepared import SET_FILE, PreparedSet, Split, read_prepared
from training.data.records import DataSetError
from training.evaluation.conditions import Asked
from training.evaluation.evaluate import Evaluation, evaluate_split
from training.evaluation.plots import Curve
from training.evaluation.report import as_json, write_report
from training.jobs.job_directory import JobDirectory, JobFailed
from training.jobs.job_files import PRIVATE, Result
from training.jobs.request import JobRequest
from training.networks.encoders import load_encoder
from training.views.prepare import PrepareOptions, prepare_set
from training.views.prepare_sample import WorkOptions

REPORT = "report"
CURVE_POINTS = 200
# Where the comparison begins, as a share of the whole job.
COMPARING = 0.5
SPLITS: tuple[Split, ...] = ("test", "validation")


def evaluate(request: JobRequest, job: JobDirectory) -> Result:
    """Writes the report into the job's directory; the result's metrics hold figures and curves.

    Raises JobFailed if the set or the bundle cannot be used.
    """
    try:
        prepared, split = _prepared_split(request, job)
        job.report_progress(COMPARING, "evaluating", f"{len(prepared.rows)} crops")
        asked = Asked(seed=request.seed)
        evaluation, curves = evaluate_split(load_encoder(request.base), prepared, split, asked=asked)
    except (DataSetError, BundleError, ValueError) as error:
        raise JobFailed(str(error)) from error
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    write_report(job.path / REPORT, evaluation, curves, command="POST /admin/evaluate", date=date)
    metrics = as_json(evaluation) | {"det": _thinned(curves.det), "cmc": _thinned(curves.cmc)}
    return Result(state="succeeded", message=_sentence(evaluation), metrics=metrics)


def _prepared_split(request: JobRequest, job: JobDirectory) -> tuple[PreparedSet, Split]:
    """Returns the set and the split of it that has a gallery and probes; prepares labelled photos first."""
    if not (request.prepared / SET_FILE).is_file():
        work = WorkOptions(alignment=read(request.base).manifest.encoder.alignment, bundle=request.base)
        made = prepare_set(
            _with_test_roles(load_generic(request.prepared, strict=False)),
            job.path / PRIVATE / "set",
            PrepareOptions(dataset="generic", work=work),
            on_part=lambda done, count: job.report_progress(
                COMPARING * done / count, "data", f"photo {done} of {count}"
            ),
        )
        return made.found, "test"
    prepared = read_prepared(request.prepared)
    for split in SPLITS:
        if all(len(prepared.select(split=split, role=role)) for role in ("gallery", "probe")):
            return prepared, split
    raise JobFailed(f"{prepared.info.name} has no split with a gallery and probes")


def _with_test_roles(source: LoadedSet) -> LoadedSet:
    """Takes the roles of the manifest; without any, VIS photos are the gallery and NIR photos the probes."""
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


def _thinned(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Reduces each curve to at most CURVE_POINTS points, both ends among them, for the job's record."""
    thinned = []
    for curve in curves:
        chosen = np.unique(np.linspace(0, len(curve.x) - 1, min(CURVE_POINTS, len(curve.x))).astype(int))
        x, y = np.asarray(curve.x)[chosen], np.asarray(curve.y)[chosen]
        thinned.append({"condition": curve.name, "x": _rounded(x), "y": _rounded(y)})
    return thinned


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]


def _sentence(evaluation: Evaluation) -> str:
    parts = [
        f"{one.condition}: rank-1 {100 * one.figures.rank1.value:.1f} % of {one.figures.probes} probes"
        for one in evaluation.conditions
    ]
    return "; ".join(parts)
