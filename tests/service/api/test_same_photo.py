"""The same photo of the same subject is one sample, however often and however fast it comes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from tests.conftest import sample_bytes
from tests.service.api.test_errors import enroll

PHOTO, OTHER = sample_bytes("s07"), sample_bytes("s07", "vis_2.jpg")


@pytest.fixture
def subject(client: httpx.Client) -> Iterator[str]:
    yield "same-photo"
    client.delete("/subjects/same-photo")


def samples_of(client: httpx.Client, subject: str) -> list[str]:
    return [sample["sample_id"] for sample in client.get(f"/subjects/{subject}").json()["samples"]]


def test_the_second_time_answers_with_the_first_sample(client: httpx.Client, subject: str) -> None:
    (first,) = enroll(client, subject, PHOTO).json()["samples"]
    again = enroll(client, subject, PHOTO, key="another request")
    assert again.status_code == 201
    (second,) = again.json()["samples"]
    assert (first["existing"], second["existing"]) == (False, True)
    assert {name: second[name] for name in first if name != "existing"} == {
        name: value for name, value in first.items() if name != "existing"
    }
    assert samples_of(client, subject) == [first["sample_id"]]


def test_only_what_is_new_is_added(client: httpx.Client, subject: str) -> None:
    (first,) = enroll(client, subject, PHOTO).json()["samples"]
    old, new, twice = enroll(client, subject, PHOTO, OTHER, OTHER, metadata='{"desk": 1}').json()["samples"]
    assert [one["existing"] for one in (old, new, twice)] == [True, False, True]
    assert old["sample_id"] == first["sample_id"]
    assert new["sample_id"] == twice["sample_id"] != first["sample_id"]
    assert new["template_id"] == twice["template_id"]
    assert sorted(samples_of(client, subject)) == sorted([first["sample_id"], new["sample_id"]])
    assert client.get(f"/subjects/{subject}").json()["metadata"] == {"desk": 1}


def test_requests_side_by_side_add_one_sample(client: httpx.Client, subject: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: enroll(client, subject, PHOTO), range(4)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["samples"][0]["sample_id"] for answer in answers}) == 1
    assert len(samples_of(client, subject)) == 1


def test_other_bytes_another_subject_and_an_erased_sample_are_new(client: httpx.Client, subject: str) -> None:
    (first,) = enroll(client, subject, PHOTO).json()["samples"]
    out = io.BytesIO()
    Image.open(io.BytesIO(PHOTO)).save(out, "PNG")
    (recoded,) = enroll(client, subject, out.getvalue()).json()["samples"]
    (elsewhere,) = enroll(client, "same-photo-2", PHOTO).json()["samples"]
    assert not recoded["existing"]
    assert not elsewhere["existing"]
    client.delete("/subjects/same-photo-2")
    assert client.delete(f"/subjects/{subject}/samples/{first['sample_id']}").status_code == 200
    (back,) = enroll(client, subject, PHOTO).json()["samples"]
    assert (back["existing"], back["sample_id"] != first["sample_id"]) == (False, True)
