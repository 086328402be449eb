"""A stranger's photo does not come under a subject, and one request is about one person."""

from __future__ import annotations

import numpy as np
import pytest

from faces.calibration import Calibration
from faces.types import Condition, Spectrum
from service.enrolment.mismatch import LEAST_MATED, Agreement, agreement_thresholds, groups
from service.settings import builtin_bundle
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
    assert min(agreement_thresholds(made, conditions, Agreement(0.2, 0.03)).values()) == pytest.approx(looser)


def test_the_strictest_point_that_costs_few_honest_photos_decides() -> None:
    made = calibration((1e-2, 0.3), (1e-3, 0.4), (1e-4, 0.5))
    costs = (0.01, 0.03, 0.06)

    def least(mated: int, rule: Agreement) -> float:
        table = made.model_dump()
        for pair in table["pairs"]:
            pair["mated"] = mated
            for point, cost in zip(pair["points"], costs, strict=True):
                point["fnmr"] = cost
        found = agreement_thresholds(
            Calibration.model_validate(table), [Condition(Spectrum.VIS, False)], rule
        )
        return min(found.values())

    loose = 0.3 - 0.1 * (np.log10(0.2) + 2)
    assert least(LEAST_MATED, Agreement(0.2, 0.03)) == 0.4
    assert least(LEAST_MATED, Agreement(0.2, 0.001)) == pytest.approx(loose)
    assert least(LEAST_MATED, Agreement(1e-4, 0.03)) == 0.5, "whoever asks for a stricter rate has it"
    assert least(LEAST_MATED - 1, Agreement(0.2, 0.03)) == pytest.approx(loose)


def test_strangers_who_look_alike_are_refused_and_second_photos_are_not(start_service: StartService) -> None:
    service = start_service(HALFLIGHT_BUNDLE_DIR=str(builtin_bundle()), HALFLIGHT_DECODE_WAIT_S="120")
    with service.client() as client:
        for photo in ("vis_1.jpg", "vis_2.jpg"):
            assert enroll(client, "anna", sample_bytes("s05", photo)).status_code == 201
        # Rendered faces resemble each other more than people do.
        problem(enroll(client, "anna", sample_bytes("s09"), allow_duplicate="true"), 409, "subject_mismatch")


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
