"""Writes an evaluation: the page, the facts as JSON, and the thresholds that can be installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faces.files import write_whole
from service.evaluation.figures import SiteEvaluation, as_json
from service.evaluation.page import Picture, render
from service.evaluation.sentences import acquisition_sentence, coverage_sentence
from service.spaces.threshold_table import CameraThresholds, ThresholdTable

PAGE, FACTS, THRESHOLDS = "report.html", "evaluation.json", "thresholds.json"
KIND = "halflight-evaluation"


def threshold_table(evaluation: SiteEvaluation, *, made_at: str) -> ThresholdTable | None:
    """The suggested thresholds by camera; None if the photos support none."""
    cameras = []
    for camera in dict.fromkeys(one.camera for one in evaluation.pairs):
        pairs = tuple(
            one.points for one in evaluation.pairs if one.camera == camera and one.points is not None
        )
        if pairs:
            cameras.append(CameraThresholds(camera=camera, pairs=pairs))
    if not cameras:
        return None
    return ThresholdTable(
        space_id=evaluation.space_id,
        made_at=made_at,
        data=_data(evaluation),
        cohort=evaluation.cohort,
        cameras=tuple(cameras),
    )


def _data(evaluation: SiteEvaluation) -> str:
    if evaluation.against == "gallery":
        return f"{evaluation.probes} probes against {evaluation.references} enrolled references"
    return (
        f"{evaluation.probes} probes and {evaluation.references} references of {evaluation.subjects} subjects"
    )


def facts_of(evaluation: SiteEvaluation, *, made_at: str, title: str) -> dict[str, Any]:
    """Everything as JSON."""
    table = threshold_table(evaluation, made_at=made_at)
    return {
        "kind": KIND,
        "format": 1,
        "title": title,
        "made_at": made_at,
        "coverage": [coverage_sentence(one) for one in evaluation.pairs],
        "acquired": [acquisition_sentence(one) for one in evaluation.acquisition],
        **as_json(evaluation),
        "thresholds": None if table is None else table.model_dump(mode="json"),
    }


def write_report(
    out: Path, evaluation: SiteEvaluation, *, made_at: str, title: str, picture: Picture
) -> Mapping[str, Path]:
    """Writes `report.html`, `evaluation.json` and, if any is supported, `thresholds.json`, each whole.

    Returns what was written by name. Raises OSError.
    """
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    facts = facts_of(evaluation, made_at=made_at, title=title)
    files = {
        PAGE: render(evaluation, title=title, made_at=made_at, picture=picture),
        FACTS: _text(facts),
    }
    if facts["thresholds"] is not None:
        files[THRESHOLDS] = _text(facts["thresholds"])
    else:
        (out / THRESHOLDS).unlink(missing_ok=True)
    for name, text in files.items():
        write_whole(out / name, text.encode())
    return {name: out / name for name in files}


def _text(value: object) -> str:
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
