"""A probe key learns what a door needs: who it is, and nothing of the rest of the gallery."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import StartService, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import enroll, problem

SUBJECTS = ("s01", "s02", "s03", "s04")


@pytest.fixture
def callers(start_service: StartService, tmp_path: Path) -> Iterator[dict[str, httpx.Client]]:
    """A client for each role, of a service where four subjects are enrolled."""
    data = tmp_path / "doors"
    data.mkdir()
    keys = {role: make_key(data, role) for role in ("probe", "operator")}
    service = start_service(data=data)
    clients = {role: service.client(key) for role, key in keys.items()}
    for subject in SUBJECTS:
        made = enroll(
            clients["operator"], subject, sample_bytes(subject), metadata='{"a": 1}', allow_duplicate="true"
        )
        assert made.status_code == 201
    yield clients
    for client in clients.values():
        client.close()


def asked(client: httpx.Client, **query: str) -> httpx.Response:
    kind = {"content-type": "image/jpeg"}
    return client.post("/identify", params=query, content=sample_bytes("s01"), headers=kind)


def test_an_operator_sees_all_candidates_with_exact_scores(callers: dict[str, httpx.Client]) -> None:
    (found,) = asked(callers["operator"], top_k="100").json()["results"]
    assert {each["subject_id"] for each in found["candidates"]} == set(SUBJECTS)
    assert all(each["metadata"] == {"a": 1} for each in found["candidates"])
    assert any(each["score"] != round(each["score"], 2) for each in found["candidates"])
    # The bundle has no cohort: scores are cosines.
    assert all(each["cosine"] == each["score"] for each in found["candidates"])


def test_a_probe_key_sees_the_match_and_one_other_without_metadata(callers: dict[str, httpx.Client]) -> None:
    (everything,) = asked(callers["operator"], top_k="100").json()["results"]
    (found,) = asked(callers["probe"], top_k="100").json()["results"]
    accepted = [each for each in everything["candidates"] if each["decision"] == "match"]
    shown = found["candidates"]
    assert found["decision"] == everything["decision"] == "match"
    assert [each["subject_id"] for each in shown[: len(accepted)]] == [
        each["subject_id"] for each in accepted
    ]
    assert all(each["metadata"] == {"a": 1} for each in shown[: len(accepted)])
    others = shown[len(accepted) :]
    assert len(others) == min(1, len(SUBJECTS) - len(accepted))
    assert all(each["metadata"] == {} and each["decision"] == "unknown" for each in others)
    assert all(each["score"] == round(each["score"], 2) for each in shown)
    assert all(each["cosine"] is None for each in shown)
    assert all(each["margin"] == round(each["margin"], 2) for each in shown)


def test_a_probe_key_may_not_choose_a_threshold_that_anybody_passes(callers: dict[str, httpx.Client]) -> None:
    assert asked(callers["operator"], threshold="-1").status_code == 200
    problem(asked(callers["probe"], threshold="-1"), 403, "forbidden")
    files = {"image": ("p.jpg", sample_bytes("s01"), "image/jpeg")}
    query, form = {"threshold": "-1"}, {"subject_id": "s02"}
    problem(callers["probe"].post("/verify", params=query, data=form, files=files), 403, "forbidden")
    assert asked(callers["probe"], threshold="0.99").status_code == 200


def test_a_probe_keys_verification_has_two_digits_and_the_same_decision(
    callers: dict[str, httpx.Client],
) -> None:
    files = {"image": ("p.jpg", sample_bytes("s01", "vis_2.jpg"), "image/jpeg")}
    form = {"subject_id": "s01"}
    seen = callers["probe"].post("/verify", data=form, files=files).json()
    exact = callers["operator"].post("/verify", data=form, files=files).json()
    assert seen["decision"] == exact["decision"]
    assert seen["score"] == round(exact["score"], 2)
    assert (seen["cosine"], exact["cosine"]) == (None, exact["score"])


def test_a_method_that_is_not_taken_names_all_that_are(callers: dict[str, httpx.Client]) -> None:
    for path, allowed in (
        ("/subjects/x", "DELETE, GET, PATCH"),
        ("/identify", "POST"),
        ("/admin/datasets", "GET, POST"),
    ):
        refused = callers["operator"].put(path)
        problem(refused, 405, "method_not_allowed")
        assert refused.headers["allow"] == allowed
