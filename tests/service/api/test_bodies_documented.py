"""The OpenAPI document says of bodies what the service does: which fields they have, and which they need."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from service.api.image_docs import with_options
from service.api.uploads import FORM, JSON
from service.app import create_app
from service.settings import Settings
from tests.conftest import sample_bytes
from tests.service.api.test_errors import problem

PHOTO = sample_bytes("s01", "nir_masked_1.jpg")
# CompreFace's SDK sends more fields than its documentation has, and they do not count.
MORE_FIELDS_ALLOWED = {"/api/v1/recognition/subjects", "/api/v1/recognition/subjects/{subject}"}
DOCUMENT: dict[str, Any] = create_app(Settings(compreface=True)).openapi()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
QUERY = {"/v1/tracks": {"track": "t-1"}}


def bodies() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Method, path, media type and schema of every body that is a form or a JSON object."""
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                schema = content["schema"]
                if "$ref" in schema:
                    schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
                if schema.get("type") == "object":
                    yield method, path, kind, schema


BODIES = list(bodies())
FORMS = [(path, schema) for _, path, kind, schema in BODIES if kind == FORM]
OWN_FORMS = [(path, schema) for path, schema in FORMS if path.startswith("/v1/")]


def test_there_are_such_bodies() -> None:
    assert len(FORMS) == 10
    assert len(OWN_FORMS) == 6
    assert len(BODIES) > 30


@pytest.mark.parametrize(("method", "path", "kind", "schema"), BODIES)
def test_a_body_has_no_fields_but_those_of_the_document(
    method: str, path: str, kind: str, schema: dict[str, Any]
) -> None:
    assert schema.get("additionalProperties", True) is (path in MORE_FIELDS_ALLOWED), (method, kind)


def asked(path: str, schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a form and what JSON must have beside the field under test: files for httpx, and an object."""
    names = [name for name in ("image", "images") if name in schema["properties"]]
    text = base64.b64encode(PHOTO).decode()
    return (
        dict.fromkeys(names, ("p.jpg", PHOTO, "image/jpeg")),
        {name: [text] if name == "images" else text for name in names},
    )


@pytest.mark.parametrize("kind", [FORM, JSON])
@pytest.mark.parametrize(("path", "schema"), OWN_FORMS)
def test_a_field_that_the_document_does_not_name_is_422(
    client: httpx.Client, path: str, schema: dict[str, Any], kind: str
) -> None:
    files, content = asked(path, schema)
    if kind == FORM:
        answer = client.post(path, params=QUERY.get(path), data={"no_such_field": "1"}, files=files)
    else:
        answer = client.post(path, params=QUERY.get(path), json=content | {"no_such_field": 1})
    refused = problem(answer, 422, "invalid_parameter")
    assert "`no_such_field` is not known here" in refused["detail"]
    # Where the names are listed, they are those of the document, and what its query must have.
    if "; known: " in refused["detail"]:
        known = set(refused["detail"].rpartition("; known: ")[2].split(", "))
        named = {name for name, one in schema["properties"].items() if "binary" not in json.dumps(one)}
        assert known == named | set(QUERY.get(path, ()))


@pytest.mark.parametrize("place", ["query", FORM, JSON])
def test_every_option_of_an_identification_counts_wherever_the_document_names_it(
    client: httpx.Client, place: str
) -> None:
    # Each as JSON Schema allows it: 2.0 is an integer.
    options = {"top_k": 2.0, "threshold": 0.9, "spectrum": "nir", "faces": "all", "camera": "door-1"}
    options |= {"min_detection_score": 0.5, "turn": "0"}
    body = next(schema for path, schema in OWN_FORMS if path == "/v1/identify")
    assert options.keys() | {"image", "fmr", "fpir"} == body["properties"].keys()
    files, content = asked("/v1/identify", body)
    if place == JSON:
        answer = client.post("/v1/identify", json=content | options | {"fmr": None})
    else:
        written = {name: str(value) for name, value in options.items()}
        where: dict[str, Any] = {"params": written} if place == "query" else {"data": written}
        answer = client.post("/v1/identify", files=files, **where)
    (found,) = answer.raise_for_status().json()["results"]
    assert found["threshold"] == 0.9
    assert found["condition"]["spectrum"] == "nir"


# Their paths name nothing that is there: what is wrong with a body is said before.
OWN_JSON = [
    (method, path, schema)
    for method, path, kind, schema in BODIES
    if kind == JSON and path.startswith("/v1/")
]


@pytest.mark.parametrize(("method", "path", "schema"), OWN_JSON)
def test_an_empty_body_is_refused_where_the_document_forbids_it_and_there_alone(
    client: httpx.Client, method: str, path: str, schema: dict[str, Any]
) -> None:
    named = path.format_map(
        dict.fromkeys(("subject_id", "door", "watcher"), "nobody")
        | dict.fromkeys(("event_id", "unknown_id"), "0" * 24)
    )
    answer = client.request(method, named, params=QUERY.get(path), json={})
    allowed = jsonschema_rs.Draft202012Validator(whole(schema)).is_valid({})
    assert (answer.status_code != 422) is allowed, answer.text


def whole(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"components": {"schemas": SCHEMAS}}


# The base point of Curve25519 is somebody's key as well as any.
PASSPHRASE, RECIPIENT = "a long passphrase", "09" + "0" * 62


@pytest.mark.parametrize(
    ("name", "body", "allowed"),
    [
        ("PatchIn", {}, False),
        ("PatchIn", {"subject_id": None}, False),
        ("PatchIn", {"metadata": None}, False),
        ("PatchIn", {"subject_id": "a b"}, False),
        ("PatchIn", {"display_name": None}, True),
        ("PatchIn", {"consent": None, "expires_at": None}, True),
        ("PatchIn", {"metadata": {}}, True),
        ("ExportIn", {}, False),
        ("ExportIn", {"keys": "inside"}, False),
        ("ExportIn", {"passphrase": None, "recipient": None}, False),
        ("ExportIn", {"passphrase": PASSPHRASE, "recipient": RECIPIENT}, False),
        ("ExportIn", {"passphrase": PASSPHRASE, "recipient": None}, True),
        ("ExportIn", {"passphrase": None, "recipient": RECIPIENT, "keys": "inside"}, True),
        ("ExportIn", {"recipient": RECIPIENT}, True),
        ("CorrectIn", {}, True),
        ("CorrectIn", {"subject_id": "a/b"}, False),
    ],
)
def test_the_schema_of_a_body_allows_what_the_service_takes(
    client: httpx.Client, name: str, body: dict[str, Any], allowed: bool
) -> None:
    method, path = {
        "PatchIn": ("PATCH", "/v1/subjects/nobody"),
        "ExportIn": ("POST", "/v1/admin/export"),
        "CorrectIn": ("POST", f"/v1/events/{'0' * 24}/correct"),
    }[name]
    assert jsonschema_rs.Draft202012Validator(whole(SCHEMAS[name])).is_valid(body) is allowed
    assert (client.request(method, path, json=body).status_code != 422) is allowed


def test_an_operation_without_a_form_is_documented_as_it_is() -> None:
    operation = {"parameters": [{"in": "query", "name": "limit", "schema": {"type": "integer"}}]}
    assert with_options(operation) is operation
