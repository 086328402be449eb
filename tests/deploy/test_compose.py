"""Tests the compose files: valid, pinned, without rights, and no secret outside a file."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from service.cli.configuration import OTHER_VARIABLES
from service.settings import Settings
from tests.conftest import REPO

ROOT = REPO / "docker-compose.yml"
FILES = [ROOT, *sorted((REPO / "deploy" / "compose").glob("*.yml"))]
VARIABLE = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")
PINNED = re.compile(r"[a-z0-9./-]+:(?!latest)[A-Za-z0-9._-]+(@sha256:[0-9a-f]{64})?")


def read(path: Path) -> dict[str, Any]:
    """A compose file with its anchors, and with the defaults of its variables."""
    loaded: dict[str, Any] = yaml.safe_load(VARIABLE.sub(r"\1", path.read_text()))
    return loaded


SERVICES = [
    pytest.param(path, name, one, id=name) for path in FILES for name, one in read(path)["services"].items()
]


def test_the_files_together_follow_the_compose_specification() -> None:
    merged: dict[str, Any] = {"name": "halflight"}
    for path in FILES:
        for part in ("services", "networks", "volumes", "secrets"):
            merged[part] = merged.get(part, {}) | (read(path).get(part) or {})
    # This reader alone refuses an image with a tag and a digest, which engines take.
    text = re.sub(r"@sha256:[0-9a-f]{64}", "", json.dumps(merged))
    compose_spec.PyCompose.from_json(text).validate()
    with pytest.raises(ValueError, match="readonly"):
        compose_spec.PyCompose.from_json(text.replace('"read_only"', '"readonly"'))


def test_the_first_file_includes_the_others() -> None:
    assert [ROOT.parent / one for one in read(ROOT)["include"]] == [
        REPO / "deploy" / "compose" / name for name in ("scale.yml", "observe.yml")
    ]
    assert len(FILES) == 3
    names = [param.values[1] for param in SERVICES]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("path", "name", "one"), SERVICES)
def test_each_service_is_pinned_and_has_no_rights(path: Path, name: str, one: dict[str, Any]) -> None:
    ours = one["image"].startswith("halflight:")
    assert ours or PINNED.fullmatch(one["image"])
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in one
    # Our own images have a user and a health check themselves.
    assert ours or int(one["user"].split(":")[0]) > 0
    assert ours or one["healthcheck"]["test"]
    for port in one.get("ports", []):
        assert port.startswith("127.0.0.1:"), f"{name} is open to the network by default"


@pytest.mark.parametrize(("path", "name", "one"), SERVICES)
def test_each_variable_is_a_setting_and_none_holds_a_secret(
    path: Path, name: str, one: dict[str, Any]
) -> None:
    known = {f"HALFLIGHT_{field.upper()}" for field in (*Settings.model_fields, *OTHER_VARIABLES)}
    for variable, value in one.get("environment", {}).items():
        assert not variable.startswith("HALFLIGHT_") or variable in known
        secret = re.search("PASSWORD|SECRET|TOKEN|KEY", variable)
        assert not secret or value.startswith("/run/secrets/")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_mounts_and_secrets_are_there(path: Path, tmp_path: Path) -> None:
    subprocess.run([REPO / "deploy" / "secrets.sh", tmp_path / "secrets"], check=True, capture_output=True)
    compose = read(path)
    for one in compose["services"].values():
        for mount in one.get("volumes", []):
            source = mount.split(":")[0]
            assert source in compose["volumes"] or (path.parent / source).exists()
        for secret in one.get("secrets", []):
            assert (secret if isinstance(secret, str) else secret["source"]) in compose["secrets"]
    for secret in compose.get("secrets", {}).values():
        assert secret["file"].startswith("../secrets/")
        assert (tmp_path / "secrets" / Path(secret["file"]).name).is_file()
    assert "/deploy/secrets/" in (REPO / ".gitignore").read_text().splitlines()


def test_every_service_takes_a_number_of_workers() -> None:
    for path, name in ((ROOT, "halflight"), (ROOT, "halflight-gpu"), (FILES[-1], "replica")):
        variables = yaml.safe_load(path.read_text())["services"][name]["environment"]
        assert variables["HALFLIGHT_WORKERS"] == "${HALFLIGHT_WORKERS:-1}"
        assert read(path)["services"][name]["environment"]["HALFLIGHT_WORKERS"] == 1


def test_replicas_trust_the_proxy_alone() -> None:
    compose = read(REPO / "deploy" / "compose" / "scale.yml")
    services, (front,) = compose["services"], compose["networks"]["front"]["ipam"]["config"]
    address = services["proxy"]["networks"]["front"]["ipv4_address"]
    assert services["replica"]["environment"]["HALFLIGHT_TRUSTED_PROXIES"] == address
    assert ipaddress.ip_address(address) in ipaddress.ip_network(front["subnet"])
    # What the engine gives to a replica must never be the trusted address.
    assert ipaddress.ip_address(address) not in ipaddress.ip_network(front["ip_range"])
    assert "ports" not in services["replica"]
    assert "ports" not in services["postgres"]
    assert compose["networks"]["database"]["internal"] is True
    assert services["postgres"]["networks"] == ["database"]
