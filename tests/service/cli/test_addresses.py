"""Tests that wrong addresses and commands give a helpful message and an exit code, never a traceback."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.conftest import REPO, SAMPLES, StartService, free_port
from tests.service.bundles.origin import Origin, serving
from tests.service.cli.command import fails, succeeds

PHOTO = SAMPLES / "s01" / "vis_1.jpg"
ASKING = [
    ["subjects", "list"],
    ["subjects", "delete", "x"],
    ["enroll", "x", PHOTO],
    ["enroll", "--folder", SAMPLES],
    ["identify", PHOTO],
    ["identify", PHOTO, PHOTO, "--json"],
    ["verify", PHOTO, "--subject", "x"],
]


@pytest.mark.parametrize("command", ASKING, ids=lambda command: " ".join(map(str, command))[:16])
def test_without_a_service_a_command_names_the_address_and_a_remedy(command: list[str | Path]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    expected = [f"no service answers at {url}", "→ start one with `halflight serve`", "HALFLIGHT_URL"]
    assert fails(1, *command, "--url", url, expected=expected).out == ""


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://127.0.0.1", "http://", "http://[::1", "nonsense"])
def test_a_malformed_address_is_a_usage_error(url: str) -> None:
    fails(2, "subjects", "list", "--url", url, expected=["is no address"])


def test_another_server_at_the_address_is_recognised() -> None:
    with serving(Origin(content=b"<html>hello</html>")) as origin:
        url = origin.url.removesuffix("/model.onnx")
        expected = [f"{url} answered 200, and not as Halflight does", "→ check --url"]
        fails(1, "subjects", "list", "--url", url, expected=expected)


@pytest.mark.slow
def test_a_missing_or_wrong_key_is_reported_with_the_command_that_creates_one(
    start_service: StartService, tmp_path: Path
) -> None:
    data = tmp_path / "locked"
    key = {"HALFLIGHT_KEY": succeeds("keys", "create", "--role", "probe", "--data", data).out.strip()}
    url = ["--url", start_service(data=data).url]
    advice = "`halflight keys create --role operator --data DIR`"
    fails(1, "subjects", "list", *url, expected=["(unauthorized)", advice])
    fails(1, "subjects", "list", *url, expected=["(unauthorized)"], env={"HALFLIGHT_KEY": "hf_wrong"})
    fails(1, "enroll", "x", PHOTO, *url, expected=["(forbidden)", "higher role"], env=key)
    succeeds("identify", PHOTO, *url, env=key)
    succeeds("identify", PHOTO, *url, "--key", key["HALFLIGHT_KEY"])
    fails(2, "subjects", "list", *url, "--key", "schlüssel", expected=["characters that no key has"])


def test_the_version_is_that_of_the_package() -> None:
    assert succeeds("--version").out == f"halflight {version('halflight')}\n"
    assert f'version = "{version("halflight")}"' in (REPO / "pyproject.toml").read_text()


@pytest.mark.slow
def test_every_command_has_help_and_an_unknown_one_is_a_usage_error() -> None:
    whole = succeeds("--help").out
    commands = ["serve", "demo", "enroll", "identify", "verify", "subjects", "keys", "models"]
    for command in commands:
        assert command in whole
        assert "Usage: halflight" in succeeds(command, "--help").out
    fails(2, "nonsense", expected=["No such command"])
