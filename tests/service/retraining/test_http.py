"""Retraining over HTTP: refused requests and missing parts."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.service.api.test_errors import problem


@pytest.mark.parametrize("dataset", ["../outside", "good/../../outside", "/etc", "link", "raw", "none", "."])
def test_only_prepared_sets_below_the_root_may_be_named(admin: httpx.Client, dataset: str) -> None:
    answer = admin.post("/admin/retrain", json={"dataset": dataset})
    problem(answer, 422, "invalid_parameter")
    assert "outside" not in answer.json()["detail"]


@pytest.mark.parametrize(
    "changed",
    [
        {"iterations": 10, "minutes": 1},
        {"iterations": 0},
        {"preset": "magic"},
        {"activate": "always"},
        {"surprise": 1},
        {"dataset": ""},
    ],
)
def test_an_invalid_request_is_refused(admin: httpx.Client, changed: dict[str, Any]) -> None:
    answer = admin.post("/admin/retrain", json={"dataset": "good", **changed})
    problem(answer, 422, "invalid_parameter")
    assert "Value error" not in answer.json()["detail"]


def test_a_retraining_without_the_train_extra_names_the_extra(admin: httpx.Client) -> None:
    answer = admin.post("/admin/retrain", json={"dataset": "good"})
    problem(answer, 409, "training_unavailable")
    assert "torch" in answer.json()["detail"]
    assert "`train` extra" in answer.json()["detail"]


def test_a_service_without_data_sets_names_the_setting(client: httpx.Client) -> None:
    answer = client.post("/admin/retrain", json={"dataset": "good"})
    problem(answer, 422, "invalid_parameter")
    assert "HALFLIGHT_DATASETS" in answer.json()["detail"]
