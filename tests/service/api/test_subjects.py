"""Subjects over HTTP: display names, search, rename, merge, erasure of many."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import sample_bytes
from tests.service.api.test_errors import enroll, identify, problem

PHOTO, OTHER = sample_bytes("s02"), sample_bytes("s02", "vis_2.jpg")


@pytest.fixture(autouse=True)
def cleared(client: httpx.Client) -> Iterator[None]:
    yield
    left = client.get("/v1/subjects", params={"id_prefix": "p-", "limit": 400}).json()["subjects"]
    if left:
        client.post("/v1/subjects/delete", json={"subject_ids": [one["subject_id"] for one in left]})


def owner(client: httpx.Client, photo: bytes) -> dict[str, object]:
    found: dict[str, object] = identify(client, photo).json()["results"][0]["candidates"][0]
    return found


def test_a_display_name_is_kept_shown_changed_and_removed(client: httpx.Client) -> None:
    assert enroll(client, "p-zoe", PHOTO, display_name=" Zoe\u0308 Müller ").status_code == 201
    shown = client.get("/v1/subjects/p-zoe").json()
    assert shown["display_name"] == "Zoë Müller"
    assert owner(client, PHOTO)["display_name"] == "Zoë Müller"
    # Another enrolment without a name leaves it.
    assert enroll(client, "p-zoe", OTHER).status_code == 201
    changed = client.patch("/v1/subjects/p-zoe", json={"metadata": {"desk": 4}}).json()
    assert (changed["display_name"], changed["metadata"]) == ("Zoë Müller", {"desk": 4})
    changed = client.patch("/v1/subjects/p-zoe", json={"display_name": "李小龍"}).json()
    assert (changed["display_name"], changed["metadata"]) == ("李小龍", {"desk": 4})
    assert client.patch("/v1/subjects/p-zoe", json={"display_name": None}).json()["display_name"] is None
    for body in (
        {"display_name": "a\u202eb"},
        {"display_name": "x" * 201},
        {},
        {"metadata": None},
        {"nam": "x"},
    ):
        problem(client.patch("/v1/subjects/p-zoe", json=body), 422, "invalid_parameter")
    problem(enroll(client, "p-no", PHOTO, display_name="a\nb"), 422, "invalid_parameter")


def test_subjects_are_found_by_what_is_known_of_them(client: httpx.Client) -> None:
    for subject, name, desk in (("p-a", "Zoë Müller", 4), ("p-b", "Jörg", 4), ("p-c", "zoe B.", 5)):
        enroll(client, subject, PHOTO, display_name=name, metadata=f'{{"desk": {desk}}}')

    def found(**options: str) -> list[str]:
        answer = client.get("/v1/subjects", params=options | {"id_prefix": "p-"}).json()
        return [one["subject_id"] for one in answer["subjects"]]

    assert found() == ["p-a", "p-b", "p-c"]
    assert found(name="ZOE") == ["p-a", "p-c"]
    assert found(metadata_key="desk", metadata_value="4") == ["p-a", "p-b"]
    assert found(name="zoe", metadata_key="desk", metadata_value="4") == ["p-a"]
    assert found(spectrum="nir") == []
    assert found(spectrum="vis", masked="false") == ["p-a", "p-b", "p-c"]
    assert found(enrolled_since="2100-01-01") == []
    assert found(enrolled_since="2020-01-01T00:00:00+02:00") == ["p-a", "p-b", "p-c"]
    first = client.get("/v1/subjects", params={"name": "zoe", "limit": 1}).json()
    for wrong in ({"name": "jörg"}, {}):
        refused = client.get("/v1/subjects", params=wrong | {"cursor": first["next_cursor"]})
        assert "another search" in problem(refused, 422, "invalid_parameter")["detail"]
    for query in (
        {"id_prefix": "a b"},
        {"name": " \u0301"},
        {"metadata_value": "4"},
        {"enrolled_since": "yesterday"},
        {"spectrum": "uv"},
        {"cursor": "AAAA"},
    ):
        problem(client.get("/v1/subjects", params=query), 422, "invalid_parameter")


def test_a_renamed_subject_is_found_under_its_new_id_alone(client: httpx.Client) -> None:
    enroll(client, "p-old", PHOTO, display_name="Anna")
    enroll(client, "p-taken", OTHER)
    before = client.get("/v1/subjects/p-old").json()
    renamed = client.patch("/v1/subjects/p-old", json={"subject_id": "p-new", "metadata": {"a": 1}})
    assert renamed.status_code == 200
    assert renamed.json()["samples"] == before["samples"]
    assert (renamed.json()["subject_id"], renamed.json()["metadata"]) == ("p-new", {"a": 1})
    problem(client.get("/v1/subjects/p-old"), 404, "subject_not_found")
    assert owner(client, PHOTO)["subject_id"] == "p-new"
    answer = client.post(
        "/v1/verify", files={"image": ("p.jpg", PHOTO, "image/jpeg")}, data={"subject_id": "p-new"}
    )
    assert answer.json()["decision"] == "match"
    problem(client.patch("/v1/subjects/p-new", json={"subject_id": "p-taken"}), 409, "subject_exists")
    problem(client.patch("/v1/subjects/p-new", json={"subject_id": ".."}), 422, "invalid_parameter")
    problem(client.patch("/v1/subjects/p-old", json={"subject_id": "p-x"}), 404, "subject_not_found")
    assert client.patch("/v1/subjects/p-new", json={"subject_id": "p-new"}).status_code == 200


def test_a_merge_moves_samples_at_once_and_may_be_repeated(client: httpx.Client) -> None:
    enroll(client, "p-into", PHOTO, metadata='{"desk": 1}')
    enroll(client, "p-from", PHOTO, OTHER, metadata='{"desk": 2, "hall": 3}', display_name="Anna")
    merged = client.post("/v1/subjects/p-into/merge", json={"subject_id": "p-from"})
    wanted = {"subject_id": "p-into", "merged": "p-from", "moved": 1, "already_there": 1, "samples": 2}
    assert merged.json() == wanted
    shown = client.get("/v1/subjects/p-into").json()
    assert (len(shown["samples"]), shown["metadata"], shown["display_name"]) == (
        2,
        {"desk": 1, "hall": 3},
        "Anna",
    )
    problem(client.get("/v1/subjects/p-from"), 404, "subject_not_found")
    assert owner(client, OTHER)["subject_id"] == "p-into"
    again = client.post("/v1/subjects/p-into/merge", json={"subject_id": "p-from"})
    assert (again.status_code, again.json()) == (200, wanted)
    problem(client.post("/v1/subjects/p-into/merge", json={"subject_id": "p-into"}), 422, "invalid_parameter")
    problem(client.post("/v1/subjects/p-into/merge", json={"subject_id": "p-x"}), 404, "subject_not_found")
    problem(client.post("/v1/subjects/p-x/merge", json={"subject_id": "p-into"}), 404, "subject_not_found")
    # The id is free again, and a second merge of it is a merge of its own.
    enroll(client, "p-from", sample_bytes("s03"))
    third = client.post("/v1/subjects/p-into/merge", json={"subject_id": "p-from"}).json()
    assert (third["moved"], third["samples"]) == (1, 3)


def test_metadata_too_large_together_stops_a_merge(client: httpx.Client) -> None:
    for subject, key in (("p-1", "a"), ("p-2", "b")):
        enroll(client, subject, PHOTO, metadata=f'{{"{key}": "{"x" * 6000}"}}')
    problem(client.post("/v1/subjects/p-1/merge", json={"subject_id": "p-2"}), 422, "invalid_parameter")
    assert len(client.get("/v1/subjects/p-2").json()["samples"]) == 1


def test_many_are_erased_with_a_receipt_each(client: httpx.Client) -> None:
    enroll(client, "p-1", PHOTO, OTHER)
    enroll(client, "p-2", PHOTO)
    enroll(client, "p-3", PHOTO)
    body = {"subject_ids": ["p-2", "p-nobody", "p-1"]}
    answer = client.post("/v1/subjects/delete", json=body).json()
    assert answer["not_found"] == ["p-nobody"]
    assert [(one["subject_id"], one["erased"]["samples"]) for one in answer["receipts"]] == [
        ("p-2", 1),
        ("p-1", 2),
    ]
    assert answer["receipts"][0]["audit_id"] < answer["receipts"][1]["audit_id"]
    assert owner(client, PHOTO)["subject_id"] == "p-3"
    again = client.post("/v1/subjects/delete", json=body).json()
    assert (again["receipts"], again["not_found"]) == ([], body["subject_ids"])
    for wrong in ([], ["p-3", "p-3"], ["p-3", ".."], ["x"] * 401, "p-3"):
        refused = client.post("/v1/subjects/delete", json={"subject_ids": wrong})
        problem(refused, 422, "invalid_parameter")
    assert client.get("/v1/subjects/p-3").status_code == 200
