"""Tests keys, roles, and open access on loopback over HTTP."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import Service, StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem


def make_key(data: Path, role: str) -> str:
    command = [sys.executable, "-m", "service.cli.main", "keys", "create"]
    made = subprocess.run(
        [*command, "--role", role, "--data", str(data)], check=True, capture_output=True, text=True
    )
    return made.stdout.strip()


def revoke_key(data: Path, key: str) -> None:
    command = [sys.executable, "-m", "service.cli.main", "keys", "revoke", key.split("_")[1]]
    subprocess.run([*command, "--data", str(data)], check=True, capture_output=True)


@pytest.fixture
def keyed(start_service: StartService, tmp_path: Path) -> tuple[Service, dict[str, str]]:
    data = tmp_path / "keyed"
    data.mkdir()
    keys = {role: make_key(data, role) for role in ("probe", "operator", "admin")}
    return start_service(data=data), keys


def test_each_role_has_its_rights_and_no_more(keyed: tuple[Service, dict[str, str]]) -> None:
    service, keys = keyed
    photo = sample_bytes("s01")
    with service.client(keys["operator"]) as operator:
        assert enroll(operator, "a", photo).status_code == 201
        assert identify(operator, photo).status_code == 200
    with service.client(keys["probe"]) as probe:
        assert identify(probe, photo).status_code == 200
        problem(enroll(probe, "b", photo), 403, "forbidden")
        problem(probe.get("/subjects"), 403, "forbidden")
        problem(probe.delete("/subjects/a"), 403, "forbidden")
        problem(probe.post("/embed", content=photo), 403, "forbidden")
    with service.client(keys["admin"]) as admin:
        assert admin.delete("/subjects/a").status_code == 200


def test_no_key_and_a_wrong_key_are_401(keyed: tuple[Service, dict[str, str]]) -> None:
    service, keys = keyed
    for key in (None, "hf_wrong_key", keys["admin"][:-1]):
        with service.client(key) as client:
            problem(identify(client, sample_bytes("s01")), 401, "unauthorized")
            assert client.get("/health/ready").status_code == 200
    basic = httpx.get(f"{service.url}/subjects", headers={"Authorization": "Basic abc"})
    problem(basic, 401, "unauthorized")


def test_a_revoked_key_stops_within_seconds(
    keyed: tuple[Service, dict[str, str]],
) -> None:
    service, keys = keyed
    with service.client(keys["probe"]) as client:
        assert identify(client, sample_bytes("s01")).status_code == 200
        revoke_key(service.data, keys["probe"])
        end = time.monotonic() + 30
        while identify(client, sample_bytes("s01")).status_code == 200:
            assert time.monotonic() < end, "the revoked key is still accepted"
            time.sleep(0.5)
        problem(identify(client, sample_bytes("s01")), 401, "unauthorized")


def test_open_access_admits_this_machine_but_no_foreign_web_page(service: Service) -> None:
    with service.client() as client:
        assert client.get("/subjects").status_code == 200
        for headers in ({"origin": "https://elsewhere.example"}, {"host": "rebound.example"}):
            problem(client.get("/subjects", headers=headers), 403, "forbidden")
        local = client.get("/subjects", headers={"origin": service.url})
        assert local.status_code == 200


def test_the_service_refuses_other_addresses_without_keys(tmp_path: Path, bundle_dir: Path) -> None:
    command = [sys.executable, "-m", "service.cli.main", "serve", "--host", "0.0.0.0"]
    refused = subprocess.run(
        [*command, "--port", "0", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert refused.returncode != 0
    assert "keys create" in refused.stderr
    assert refused.stdout == ""


def test_the_secret_is_stored_nowhere(keyed: tuple[Service, dict[str, str]]) -> None:
    service, keys = keyed
    with service.client(keys["admin"]) as client:
        client.get("/subjects")
    secrets = [key.split("_")[2].encode() for key in keys.values()]
    for path in [*service.data.rglob("*"), service.log]:
        if path is not None and path.is_file():
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path.name
