"""The whole gallery over HTTP: out of a service on SQLite, into one on PostgreSQL, and back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem
from tests.service.cli.command import succeeds
from tests.service.store.postgres import fresh_database

PASSPHRASE = "pass phrase of ümlauts"  # noqa: S105 - of this test alone
NAMES = ("s01", "s02")
HEADERS = {
    "content-type": "application/octet-stream",
    "x-halflight-passphrase": base64.b64encode(PASSPHRASE.encode()).decode(),
}


def exported(client: httpx.Client, **body: str) -> bytes:
    answer = client.post("/v1/admin/export", json=body or {"passphrase": PASSPHRASE})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    return answer.content


def imported(client: httpx.Client, archive: bytes, **headers: str) -> httpx.Response:
    return client.post("/v1/admin/import", content=archive, headers=HEADERS | headers)


def candidates(client: httpx.Client) -> list[Any]:
    return [
        identify(client, sample_bytes(name, "nir_masked_1.jpg")).json()["results"][0]["candidates"]
        for name in NAMES
    ]


@pytest.mark.slow
def test_a_gallery_moves_between_services_and_identifies_the_same_probes(
    start_service: StartService, postgres: str, tmp_path: Path
) -> None:
    first = start_service(data=tmp_path / "first")
    with first.client() as client:
        for name in NAMES:
            assert enroll(client, name, sample_bytes(name), metadata='{"a": 1}').status_code == 201
        before, subjects = candidates(client), client.get("/v1/subjects").json()
        archive = exported(client)
        problem(imported(client, archive), 409, "gallery_not_empty")
        for wrong in (
            {},
            {"passphrase": "short"},
            {"passphrase": PASSPHRASE, "recipient": "0" * 64},
            {"recipient": "0" * 63},
            {"passphrase": PASSPHRASE, "keys": "book"},
        ):
            told = problem(client.post("/v1/admin/export", json=wrong), 422, "invalid_parameter")
            assert PASSPHRASE not in json.dumps(told)
    assert PASSPHRASE.encode() not in archive
    file = tmp_path / "gallery.backup"
    file.write_bytes(archive)
    env = {"HALFLIGHT_BACKUP_PASSPHRASE": PASSPHRASE}
    told = json.loads(succeeds("restore", file, "--verify", "--json", env=env).out)
    assert (told["subjects"], told["samples"], told["api_keys"], told["audit_entries"]) == (2, 2, 0, 0)
    first.stop()
    with fresh_database(postgres) as url:
        second = start_service(data=tmp_path / "second", HALFLIGHT_DATABASE_URL=url)
        with second.client() as client:
            other = {"x-halflight-passphrase": base64.b64encode(b"another passphrase").decode()}
            problem(imported(client, archive, **other), 422, "invalid_parameter")
            problem(imported(client, archive, **{"x-halflight-passphrase": "?"}), 422, "invalid_parameter")
            problem(imported(client, archive[:-1]), 422, "invalid_archive")
            problem(imported(client, b"nothing"), 422, "invalid_archive")
            problem(imported(client, archive, **{"content-type": "image/png"}), 415, "unsupported_media_type")
            assert client.get("/v1/subjects").json()["subjects"] == []
            made = imported(client, archive)
            assert made.status_code == 200, made.text
            answer = made.json()
            assert (answer["subjects"], answer["samples"], answer["unreadable"]) == (2, 2, 0)
            # Searchable in this process before the answer.
            assert candidates(client) == before
            assert client.get("/v1/subjects").json() == subjects
            entries = client.get("/v1/admin/audit", params={"action": "gallery.import"}).json()["entries"]
            assert [one["audit_id"] for one in entries] == [answer["audit_id"]]
            back = exported(client)
        second.stop()
    third = start_service(data=tmp_path / "third")
    with third.client() as client:
        assert imported(client, back).status_code == 200
        assert candidates(client) == before
        assert enroll(client, "s03", sample_bytes("s03")).status_code == 201
        assert client.delete(f"/v1/subjects/{NAMES[0]}").json()["erased"]["samples"] == 1
