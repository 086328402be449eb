"""The service and the process of a job define their files separately; here they are held together."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from service.jobs import job_files as ours
from service.retraining import request as service_request
from training.jobs import job_files as theirs
from training.jobs import request as training_request

NAMES = (
    "REQUEST",
    "HEARTBEAT",
    "PROGRESS",
    "RESULT",
    "PRIVATE",
    "STAGE_CHARACTERS",
    "MESSAGE_CHARACTERS",
)


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_use_the_same_names_and_limits(name: str) -> None:
    assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize("model", ["Progress", "Result"])
def test_both_sides_have_the_same_schema(model: str) -> None:
    assert getattr(ours, model).model_json_schema() == getattr(theirs, model).model_json_schema()


def test_the_service_reads_what_the_process_writes(tmp_path: Path) -> None:
    lines = [
        theirs.Progress(fraction=0.25, stage="training", message="iteration 1 of 4", metrics={"loss": 1.5}),
        theirs.Progress(fraction=1.0, stage="exporting"),
    ]
    for line in lines:
        theirs.append_progress(tmp_path, line)
    read, offset = ours.read_progress(tmp_path, 0)
    assert [line.model_dump() for line in read] == [line.model_dump() for line in lines]
    assert offset == (tmp_path / ours.PROGRESS).stat().st_size
    assert ours.read_result(tmp_path) is None
    assert not theirs.has_result(tmp_path)
    result = theirs.Result(state="succeeded", message="done", metrics={"rank1": {}})
    theirs.write_result(tmp_path, result)
    found = ours.read_result(tmp_path)
    assert found is not None
    assert found.model_dump() == result.model_dump()
    assert theirs.has_result(tmp_path)


def test_a_number_that_json_does_not_have_is_written_as_null(tmp_path: Path) -> None:
    line = theirs.Progress(fraction=0.5, stage="training", metrics={"loss": float("nan")})
    theirs.append_progress(tmp_path, line)
    read, _ = ours.read_progress(tmp_path, 0)
    assert [line.metrics for line in read] == [{"loss": None}]


def test_a_retraining_request_has_the_same_fields_on_both_sides() -> None:
    asked = get_type_hints(service_request.Retraining)
    places = {"prepared", "facekit", "trunk", "base"}
    assert service_request.Retraining.model_fields.keys() | places == set(
        training_request.RetrainRequest.model_fields
    )
    read = get_type_hints(training_request.RetrainRequest)
    assert get_args(asked["preset"]) == get_args(read["preset"])
    assert get_args(asked["activate"]) == get_args(read["activate"])
