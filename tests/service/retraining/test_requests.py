"""One type is the request of a training job at the API, in the job's row and in request.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.api.schemas.jobs import EvaluateIn, RetrainIn
from service.retraining.request import Evaluation, Retraining

# A row as release 0.4.2 stored it, to the byte.
ROW = (
    '{"dataset": "good", "preset": "hsst", "iterations": null, "epochs": 1.5, "minutes": null, "seed": 0,'
    ' "activate": "manual", "actor": "key-1"}'
)


def test_the_row_of_a_retraining_is_the_request_and_its_actor() -> None:
    request = RetrainIn.model_validate({"dataset": "good", "epochs": 1.5})
    assert json.dumps(request.params() | {"actor": "key-1"}) == ROW
    assert Retraining.of_job(json.loads(ROW)) == Retraining(dataset="good", epochs=1.5)


def test_the_file_of_a_retraining_is_the_request_and_its_places(tmp_path: Path) -> None:
    request = Retraining.of_job(json.loads(ROW))
    written = request.file(prepared=tmp_path, facekit=None, trunk=tmp_path / "trunk.pt", base=tmp_path)
    expected = json.loads(ROW) | {
        "prepared": str(tmp_path),
        "facekit": None,
        "trunk": str(tmp_path / "trunk.pt"),
        "base": str(tmp_path),
    }
    del expected["actor"]
    assert json.dumps(written) == json.dumps(expected)


def test_the_row_of_an_evaluation_is_the_request() -> None:
    request = EvaluateIn.model_validate({"dataset": "good", "seed": 3})
    row = {"dataset": "good", "seed": 3, "by": "training"}
    row |= {"camera": None, "pictures": False, "references": "set"}
    assert json.dumps(request.params()) == json.dumps(row)
    assert Evaluation.of_job(request.params()) == Evaluation(dataset="good", seed=3)


def test_a_row_with_two_budgets_is_refused() -> None:
    with pytest.raises(ValidationError, match="give one of"):
        Retraining.of_job(json.loads(ROW) | {"minutes": 5.0})
