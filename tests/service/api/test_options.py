"""Options are taken from query and form alike; what is misspelt is refused with the name that was meant."""

from __future__ import annotations

import json

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import sample_bytes
from tests.service.api.test_errors import problem

IMAGE = {"image": ("p.jpg", sample_bytes("s01", "nir_masked_1.jpg"), "image/jpeg")}


def documented() -> list[tuple[str, str, str]]:
    """Method, path and name of every query option in the OpenAPI document."""
    return [
        (method, path, parameter["name"])
        for path, operations in create_app(Settings()).openapi()["paths"].items()
        for method, operation in operations.items()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    ]


@pytest.mark.parametrize(("method", "path", "name"), documented())
def test_every_misspelt_query_option_is_refused_with_its_right_name(
    client: httpx.Client, method: str, path: str, name: str
) -> None:
    misspelt = name[:-1] + name[-1] * 2
    answer = client.request(method, path, params={misspelt: "1"})
    refused = problem(answer, 422, "invalid_parameter")
    assert f"`{misspelt}`" in refused["detail"]
    assert f"did you mean `{name}`?" in refused["detail"]


@pytest.mark.parametrize("place", ["query", "form"])
def test_a_threshold_counts_wherever_it_stands(client: httpx.Client, place: str) -> None:
    option = {"threshold": "0.9", "top_k": "1"}
    if place == "query":
        answer = client.post("/identify", params=option, files=IMAGE)
    else:
        answer = client.post("/identify", data=option, files=IMAGE)
    (found,) = answer.json()["results"]
    assert found["threshold"] == 0.9
    assert len(found["candidates"]) <= 1


@pytest.mark.parametrize(
    ("query", "form", "said"),
    [
        ({"treshold": "0.9"}, {}, "did you mean `threshold`?"),
        ({}, {"treshold": "0.9"}, "did you mean `threshold`?"),
        ({"threshold": "0.9"}, {"threshold": "0.8"}, "`threshold` is given twice"),
        ({"xyz": "1"}, {}, "known: "),
        ({}, {"image": "text"}, "`image` must be a file"),
        ({}, {"threshold": "high"}, "threshold"),
    ],
)
def test_what_is_misspelt_doubled_or_misplaced_is_422(
    client: httpx.Client, query: dict[str, str], form: dict[str, str], said: str
) -> None:
    files = {} if "image" in form else IMAGE
    if "image" in form:
        answer = client.post("/identify", params=query, files={"image": (None, form["image"])})
    else:
        answer = client.post("/identify", params=query, data=form, files=files)
    assert said in problem(answer, 422, "invalid_parameter")["detail"]


def test_an_endless_field_name_is_refused_at_once_and_cut_in_the_answer(client: httpx.Client) -> None:
    kind = {"content-type": "application/json"}
    for letters, status, code in ((5_000, 422, "invalid_parameter"), (800_000, 413, "body_too_large")):
        body = b'{"' + b"qwertyuiop" * letters + b'": 1}'
        refused = problem(client.post("/identify", content=body, headers=kind), status, code)
        assert len(refused["detail"]) < 300


@pytest.mark.parametrize("url", ["data:image/\u0100png;base64,AAAA", "data:\ud800;base64,AAAA"])
def test_a_data_url_of_no_media_type_is_422(client: httpx.Client, url: str) -> None:
    answer = client.post(
        "/identify", content=json.dumps({"image": url}), headers={"content-type": "application/json"}
    )
    problem(answer, 422, "invalid_parameter")


@pytest.mark.parametrize("charset", ["unicode_escape", "raw_unicode_escape", "utf-7", "bogus"])
def test_a_form_in_another_charset_is_400(client: httpx.Client, charset: str) -> None:
    field = b'--x\r\nContent-Disposition: form-data; name="fmr"\r\n\r\n\\ud800\r\n--x--\r\n'
    kind = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    problem(client.post("/identify", content=field, headers=kind), 400, "malformed_request")


def test_a_path_with_a_slash_too_many_is_404_without_a_redirect(client: httpx.Client) -> None:
    problem(client.get("/subjects/", headers={"host": "localhost"}), 404, "not_found")


def test_a_repeated_query_option_is_422(client: httpx.Client) -> None:
    answer = client.get("/subjects", params=[("limit", "1"), ("limit", "2")])
    assert "given twice" in problem(answer, 422, "invalid_parameter")["detail"]


def test_a_file_under_another_name_is_refused_with_the_name_that_is_read(client: httpx.Client) -> None:
    answer = client.post("/identify", files={"file": IMAGE["image"]})
    assert "did you mean `image`?" in problem(answer, 422, "invalid_parameter")["detail"]


def test_fields_of_a_form_may_stand_in_the_query(client: httpx.Client) -> None:
    # A frame of a camera that nobody would take for visible light by itself.
    photo = ("a.jpg", sample_bytes("s05", "nir_masked_1.jpg"), "image/jpeg")
    query = {"subject_id": "query-1", "spectrum": "vis", "allow_duplicate": "true"}
    assert client.post("/enroll", params=query, files={"images": photo}).status_code == 201
    (sample,) = client.get("/subjects/query-1").json()["samples"]
    assert sample["spectrum"] == "vis"
    verified = client.post("/verify", params={"subject_id": "query-1"}, files={"image": photo})
    assert verified.status_code == 200
    client.delete("/subjects/query-1")


def test_options_that_are_known_are_taken_on_every_matching_route(client: httpx.Client) -> None:
    for path in ("/identify", "/embed", "/detect"):
        assert client.post(path, data={"spectrum": "nir"}, files=IMAGE).status_code == 200, path
