"""Who may ask what over CompreFace's routes, and that they are there only if they are wanted."""

from __future__ import annotations

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import StartService, sample_bytes
from tests.service.compreface.conftest import Compatible

PREFIX = "/api/v1/"
RANKS = {"probe": 1, "operator": 2, "admin": 3}
PHOTO = {"file": ("a.jpg", sample_bytes("s01"), "image/jpeg")}
ROLES = {
    ("POST", "/recognition/recognize"): "probe",
    ("POST", "/recognition/faces/{image_id}/verify"): "probe",
    ("POST", "/verification/verify"): "probe",
    ("POST", "/recognition/faces"): "operator",
    ("GET", "/recognition/faces"): "operator",
    ("DELETE", "/recognition/faces"): "operator",
    ("DELETE", "/recognition/faces/{image_id}"): "operator",
    ("POST", "/recognition/subjects"): "operator",
    ("GET", "/recognition/subjects"): "operator",
    ("PUT", "/recognition/subjects/{subject}"): "operator",
    ("DELETE", "/recognition/subjects/{subject}"): "operator",
    ("DELETE", "/recognition/subjects"): "admin",
}


def test_the_document_has_the_routes_only_if_they_are_on() -> None:
    assert not [path for path in create_app(Settings()).openapi()["paths"] if path.startswith(PREFIX)]
    document = create_app(Settings(compreface=True)).openapi()
    found = {
        (method.upper(), path.removeprefix("/api/v1")): operation["x-role"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if path.startswith(PREFIX)
    }
    assert found == ROLES
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith(PREFIX):
                assert operation["security"] == [{"compreface_key": []}]
                assert "422" not in operation["responses"]
    scheme = document["components"]["securitySchemes"]["compreface_key"]
    assert scheme == {"type": "apiKey", "in": "header", "name": "x-api-key"}


def test_they_are_off_by_default(start_service: StartService) -> None:
    service = start_service()
    with service.client() as client:
        for method, path in ROLES:
            assert client.request(method, "/api/v1" + path).status_code == 404
        assert client.post("/api/v1/recognition/recognize", files=PHOTO).json()["code"] == "not_found"


@pytest.mark.parametrize("caller", ["probe", "operator", "admin"])
def test_each_role_is_let_in_where_the_document_says_so(compatible: Compatible, caller: str) -> None:
    with compatible.foreign(caller) as client:
        for (method, path), role in ROLES.items():
            answer = client.request(
                method, path[1:].replace("{image_id}", "none").replace("{subject}", "none")
            )
            if RANKS[caller] < RANKS[role]:
                assert (answer.status_code, answer.json()["reason"]) == (403, "forbidden"), (method, path)
            elif (method, path) != ("DELETE", "/recognition/faces") or caller == "admin":
                assert answer.status_code not in (401, 403), (method, path)
            assert answer.status_code < 500


def test_strangers_are_let_in_nowhere(compatible: Compatible) -> None:
    key = compatible.keys["admin"]
    for headers in (
        {},
        {"x-api-key": key[:-4] + "0000"},
        {"Authorization": f"Bearer {key}"},
        {"x-api-key": ""},
    ):
        with httpx.Client(base_url=compatible.service.url, headers=headers) as client:
            for method, path in ROLES:
                answer = client.request(method, "/api/v1" + path)
                assert (answer.status_code, answer.json()["code"]) == (401, 10), (method, path)
    # And its header opens none of ours.
    with httpx.Client(base_url=compatible.service.url, headers={"x-api-key": key}) as client:
        assert client.get("/subjects").status_code == 401


def test_a_probe_key_learns_what_a_door_needs(compatible: Compatible) -> None:
    sdk = compatible.sdk()
    for name, sample in (("Anna Müller", "s01"), ("Bert Öz", "s02"), ("Cleo Ü", "s03")):
        assert "message" not in sdk.add(sample_bytes(sample), name)
    asked = {"prediction_count": 3}
    (everything,) = compatible.sdk(options=asked).recognize(sample_bytes("s01", "nir_masked_1.jpg"))["result"]
    (seen,) = compatible.sdk("probe", asked).recognize(sample_bytes("s01", "nir_masked_1.jpg"))["result"]
    assert len(everything["subjects"]) == 3
    assert [one["subject"] for one in seen["subjects"][:1]] == ["Anna Müller"]
    assert len(seen["subjects"]) == 2
    assert "Ö" not in seen["subjects"][1]["subject"]
    assert "Ü" not in seen["subjects"][1]["subject"]
    assert seen["subjects"][1]["similarity"] < 0.5
    refusal = compatible.sdk("probe", {"face_plugins": "calculator"}).recognize(sample_bytes("s01"))
    assert (refusal["code"], refusal["reason"]) == (1, "forbidden")
