"""Tests `halflight keys`, and that `serve` refuses a network without a key."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import free_port
from tests.service.cli.command import HALFLIGHT, environment, fails, halflight, succeeds

ALL_ADDRESSES = "0.0.0.0"


def test_a_secret_is_printed_once_and_stored_nowhere(tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = succeeds("keys", "create", "--role", "operator", "--label", "gate [3]", "--data", data)
    token = made.out.strip()
    assert re.fullmatch(r"\S{40,}", token)
    assert made.out == token + "\n"
    assert "not shown again" in made.err
    secret = token.rsplit("_", 1)[1]
    assert secret not in made.err
    table, lines = (
        succeeds("keys", "list", "--data", data),
        succeeds("keys", "list", "--data", data, "--json"),
    )
    (row,), (line,) = table.cells(), lines.lines()
    assert row[:3] == [line["key_id"], "operator", "gate [3]"]
    assert (row[-1], line["revoked_at"]) == ("active", None)
    for place in (table.out, table.err, lines.out):
        assert secret not in place
    stored = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    assert line["key_id"].encode() in stored
    assert secret.encode() not in stored


@pytest.mark.slow
def test_a_key_is_revoked_once_and_stays_in_the_list(tmp_path: Path) -> None:
    succeeds("keys", "create", "--role", "admin", "--data", tmp_path)
    succeeds("keys", "create", "--role", "probe", "--data", tmp_path)
    first, second = succeeds("keys", "list", "--data", tmp_path, "--json").lines()
    succeeds("keys", "revoke", first["key_id"], "--data", tmp_path)
    states = {row[0]: row[-1] for row in succeeds("keys", "list", "--data", tmp_path).cells()}
    assert states == {first["key_id"]: "revoked", second["key_id"]: "active"}
    expected = ["there is no active key with this id", "→ `halflight keys list` shows them"]
    fails(1, "keys", "revoke", first["key_id"], "--data", tmp_path, expected=expected)
    fails(1, "keys", "revoke", "nothing", "--data", tmp_path, expected=expected)


def test_a_key_has_permissions_and_an_end(tmp_path: Path) -> None:
    key: list[str | Path] = ["keys", "create", "--role", "probe", "--data", tmp_path]
    succeeds(*key, "--permission", "investigate", "--expires", "90d")
    (line,) = succeeds("keys", "list", "--data", tmp_path, "--json").lines()
    assert line["permissions"] == ["investigate"]
    lasts = datetime.fromisoformat(line["expires_at"]) - datetime.fromisoformat(line["created_at"])
    assert abs(lasts - timedelta(days=90)) < timedelta(hours=1)
    for wrong, why in (("soon", "is no time"), ("2020-01-01", "is past"), ("0d", "is no time")):
        fails(2, *key, "--expires", wrong, expected=[why])
    fails(2, *key, "--permission", "everything", expected=["permissions: investigate"])


def test_ensure_creates_a_key_only_if_no_active_one_exists(tmp_path: Path) -> None:
    assert succeeds("keys", "ensure", "--data", tmp_path).out.strip()
    again = succeeds("keys", "ensure", "--data", tmp_path)
    assert (again.out, "exists already" in again.err) == ("", True)
    (key,) = succeeds("keys", "list", "--data", tmp_path, "--json").lines()
    assert key["role"] == "admin"
    succeeds("keys", "revoke", key["key_id"], "--data", tmp_path)
    assert succeeds("keys", "ensure", "--data", tmp_path).out.strip()


@pytest.mark.parametrize("command", [["list"], ["revoke", "x"]])
def test_a_directory_without_a_database_is_reported_and_stays_unchanged(
    tmp_path: Path, command: list[str]
) -> None:
    expected = ["holds no database of the service", "--data"]
    fails(1, "keys", *command, "--data", tmp_path, expected=expected)
    assert list(tmp_path.iterdir()) == []


def test_an_unusable_database_is_reported_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://someone:pass4711word@127.0.0.1:{free_port()}/none"
    result = fails(1, "keys", "list", "--database-url", url, expected=["the database cannot be used"])
    assert "pass4711word" not in result.err
    (tmp_path / "halflight.db").write_bytes(b"no database" * 100)
    fails(1, "keys", "list", "--data", tmp_path, expected=["the database cannot be used", "→ check --data"])


def test_a_key_needs_a_known_role(tmp_path: Path) -> None:
    for wrong in ([], ["--role", "king"]):
        result = halflight("keys", "create", *wrong, "--data", tmp_path)
        assert (result.code, result.out) == (2, "")
    assert list(tmp_path.iterdir()) == []


def test_serve_refuses_a_network_without_keys_and_names_a_command_that_helps(
    tmp_path: Path, bundle_dir: Path
) -> None:
    data = tmp_path / "data"
    serve: list[str | Path] = ["serve", "--host", ALL_ADDRESSES, "--port", "0", "--data", data]
    result = fails(2, *serve, expected=["refusing to listen on 0.0.0.0 without keys", "127.0.0.1"])
    (named,) = re.findall(r"`halflight ([^`]+)`", result.err)
    command = shlex.split(named)
    assert command == ["keys", "create", "--role", "admin", "--data", str(data)]
    succeeds(*command)
    process = subprocess.Popen(
        [*HALFLIGHT, *map(str, serve)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        line = process.stdout.readline()
        process.terminate()
    assert line.startswith("halflight ready on http://0.0.0.0:")
    assert process.returncode == 0


def test_serve_without_models_names_the_command_that_fetches_them(tmp_path: Path) -> None:
    nothing = tmp_path / "no-bundle"
    command: list[str | Path] = ["serve", "--port", "0", "--data", tmp_path / "data", "--bundle", nothing]
    fails(2, *command, expected=[f"no bundle at {nothing}", "`halflight models pull`"])


def test_serve_reports_a_port_in_use(tmp_path: Path, bundle_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command: list[str | Path] = ["serve", "--port", str(port), "--data", tmp_path / "data"]
        fails(2, *command, expected=[f"cannot listen on 127.0.0.1:{port}"])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HALFLIGHT_MAX_IMAGE_BYTE", "5", "did you mean HALFLIGHT_MAX_IMAGE_BYTES?"),
        ("HALFLIGHT_MAX_QUEUE", "0", "HALFLIGHT_MAX_QUEUE: "),
        ("HALFLIGHT_PROVIDERS", '["CPU', "HALFLIGHT_PROVIDERS: "),
    ],
)
def test_invalid_settings_stop_the_start(tmp_path: Path, name: str, value: str, expected: str) -> None:
    fails(2, "serve", "--port", "0", "--data", tmp_path, expected=[expected], env={name: value})


@pytest.mark.parametrize(
    ("providers", "expected"),
    [(["NoneExecutionProvider"], "NoneExecutionProvider is not part of"), ([], "no execution provider")],
)
def test_a_provider_that_cannot_load_stops_the_start_with_a_reason(
    tmp_path: Path, bundle_dir: Path, providers: list[str], expected: str
) -> None:
    command: list[str | Path] = ["serve", "--port", "0", "--data", tmp_path / "data"]
    fails(
        3, *command, expected=["cannot start: ", expected], env={"HALFLIGHT_PROVIDERS": json.dumps(providers)}
    )
