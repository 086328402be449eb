"""A stranger's photo does not come under a subject, and one request is about one person."""

from __future__ import annotations

import numpy as np
import pytest

from faces.types import Condition, Spectrum
from service.enrolment.mismatch import agreement_thresholds, groups
from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll, problem
from tests.service.enrolment.test_duplicates import calibration


def test_photos_that_are_linked_make_one_group() -> None:
    scores = np.full((5, 5), -0.1, np.float32)
    for i, j in ((0, 1), (1, 2), (3, 4)):
        scores[i, j] = scores[j, i] = 0.5
    assert groups(scores, 0.4) == [[0, 1, 2], [3, 4]]
    assert groups(scores, 0.6) == [[0], [1], [2], [3], [4]]
    assert groups(np.ones((1, 1), np.float32), 0.4) == [[0]]


def test_the_loosest_condition_decides() -> None:
    made = calibration((1e-2, 0.3), (1e-3, 0.4))
    looser = 0.3 - 0.1 * (np.log10(0.2) + 2)
    conditions = [Condition(Spectrum.VIS, False), Condition(Spectrum.NIR, True)]
    assert min(agreement_thresholds(made, conditions, 0.2).values()) == pytest.approx(looser)


def test_strangers_are_refused_and_whoever_says_so_may_add_them(start_service: StartService) -> None:
    service = start_service()
    # Of the rendered faces these two look least alike.
    first, second, stranger = sample_bytes("s04"), sample_bytes("s04", "vis_2.jpg"), sample_bytes("s10")
    with service.client() as client:
        mixed = problem(
            enroll(client, "anna", first, second, stranger, allow_duplicate="true"), 422, "photos_disagree"
        )
        assert (mixed["index"], mixed["groups"]) == (2, [[0, 1], [2]])
        assert client.get("/subjects").json()["subjects"] == []
        assert enroll(client, "anna", first).status_code == 201
        refused = problem(enroll(client, "anna", stranger, allow_duplicate="true"), 409, "subject_mismatch")
        assert "allow_mismatch=true" in refused["detail"]
        part = problem(
            enroll(client, "anna", second, stranger, allow_duplicate="true"), 409, "subject_mismatch"
        )
        assert part["index"] == 1
        # Nothing of a refused request is stored.
        assert len(client.get("/subjects/anna").json()["samples"]) == 1
        assert enroll(client, "anna", second).status_code == 201
        assert enroll(client, "anna", stranger, allow_mismatch="true").status_code == 201
        assert len(client.get("/subjects/anna").json()["samples"]) == 3
        detail = client.get("/admin/audit", params={"action": "subject.enrol"}).json()["entries"][0]["detail"]
        assert detail["allow_mismatch"] is True
