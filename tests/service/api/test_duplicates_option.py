"""`duplicates` says what an enrolment does with a face that another subject has."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import problem

PHOTO, OTHER = sample_bytes("s04"), sample_bytes("s04", "vis_2.jpg")


def ask(
    client: httpx.Client, subject: str, *photos: bytes, key: str | None = None, **fields: str
) -> httpx.Response:
    files = [("images", (f"{i}.jpg", photo, "image/jpeg")) for i, photo in enumerate(photos)]
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/v1/enroll", data={"subject_id": subject} | fields, files=files, headers=headers)


@pytest.fixture
def anna(client: httpx.Client) -> Iterator[httpx.Client]:
    assert ask(client, "d-anna", PHOTO, duplicates="ignore").status_code == 201
    yield client
    client.post("/v1/subjects/delete", json={"subject_ids": ["d-anna", "d-twin", "d-other", "d-new"]})


def test_each_value_does_what_it_says(anna: httpx.Client) -> None:
    refused = problem(ask(anna, "d-twin", PHOTO), 409, "duplicate_face")
    assert refused["subject_id"] == "d-anna"
    assert "duplicates=ignore" in refused["detail"]
    problem(ask(anna, "d-twin", PHOTO, duplicates="refuse"), 409, "duplicate_face")
    both = sample_bytes("s05"), PHOTO
    reported = ask(anna, "d-twin", *both, duplicates="report", allow_mismatch="true")
    assert reported.status_code == 201
    assert len(reported.json()["samples"]) == 2
    found = [(one["index"], one["subject_id"]) for one in reported.json()["duplicates"]]
    assert (1, "d-anna") in found
    assert all(one != (0, "d-anna") for one in found)
    (match,) = [one for one in reported.json()["duplicates"] if one["subject_id"] == "d-anna"]
    assert match["score"] > 0.99
    ignored = ask(anna, "d-other", PHOTO, duplicates="ignore")
    assert (ignored.status_code, ignored.json()["duplicates"]) == (201, [])


def test_the_older_option_means_the_same_and_a_contradiction_is_422(anna: httpx.Client) -> None:
    problem(ask(anna, "d-twin", PHOTO, allow_duplicate="false"), 409, "duplicate_face")
    for allow, wanted in (("true", "refuse"), ("true", "report"), ("false", "ignore")):
        answer = ask(anna, "d-twin", PHOTO, allow_duplicate=allow, duplicates=wanted)
        assert "different things" in problem(answer, 422, "invalid_parameter")["detail"]
    for name in ("duplicates", "allow_duplicate"):
        problem(ask(anna, "d-twin", PHOTO, **{name: "perhaps"}), 422, "invalid_parameter")
    assert ask(anna, "d-twin", PHOTO, allow_duplicate="true", duplicates="ignore").status_code == 201


def test_a_repeated_request_names_the_subject_as_it_is_called_now(anna: httpx.Client) -> None:
    first = ask(anna, "d-twin", PHOTO, key="dup-1", duplicates="report").json()
    again = ask(anna, "d-twin", PHOTO, key="dup-1", duplicates="report").json()
    assert again == first
    assert "d-anna" in [one["subject_id"] for one in first["duplicates"]]
    problem(ask(anna, "d-twin", PHOTO, key="dup-1", duplicates="ignore"), 409, "idempotency_conflict")
    anna.patch("/v1/subjects/d-anna", json={"subject_id": "d-new"})
    renamed = ask(anna, "d-twin", PHOTO, key="dup-1", duplicates="report").json()
    assert "d-new" in [one["subject_id"] for one in renamed["duplicates"]]
    anna.delete("/v1/subjects/d-new")
    erased = ask(anna, "d-twin", PHOTO, key="dup-1", duplicates="report").json()
    assert {"d-new", "d-anna"}.isdisjoint(one["subject_id"] for one in erased["duplicates"])
    assert erased["samples"] == first["samples"]


def test_the_setting_counts_where_the_request_says_nothing(start_service: StartService) -> None:
    service = start_service(HALFLIGHT_DUPLICATES="report")
    with service.client() as client:
        assert ask(client, "a", PHOTO).status_code == 201
        reported = ask(client, "b", PHOTO)
        assert [one["subject_id"] for one in reported.json()["duplicates"]] == ["a"]
        problem(ask(client, "c", PHOTO, duplicates="refuse"), 409, "duplicate_face")
        problem(ask(client, "c", PHOTO, allow_duplicate="false"), 409, "duplicate_face")
