"""Wrong addresses and wrong commands: a sentence that helps, an exit code, never a traceback."""

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
def test_where_no_service_answers_the_address_and_the_way_out_are_named(command: list[str | Path]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = [f"no service answers at {url}", "→ start one with `halflight serve`", "HALFLIGHT_URL"]
    assert fails(1, *command, "--url", url, told=told).out == ""


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://127.0.0.1", "http://", "http://[::1", "nonsense"])
def test_what_is_no_address_is_wrong_use(url: str) -> None:
    fails(2, "subjects", "list", "--url", url, told=["is no address"])


def test_another_server_at_the_address_is_told_apart() -> None:
    with serving(Origin(content=b"<html>hello</html>")) as origin:
        url = origin.url.removesuffix("/model.onnx")
        told = [f"{url} answered 200, and not as Halflight does", "→ check --url"]
        fails(1, "subjects", "list", "--url", url, told=told)


@pytest.mark.slow
def test_a_key_that_is_missing_or_wrong_is_told_with_the_way_to_one(
    start_service: StartService, tmp_path: Path
) -> None:
    data = tmp_path / "locked"
    key = {"HALFLIGHT_KEY": succeeds("keys", "create", "--role", "probe", "--data", data).out.strip()}
    url = ["--url", start_service(data=data).url]
    advice = "`halflight keys create --role operator --data DIR`"
    fails(1, "subjects", "list", *url, told=["(unauthorized)", advice])
    fails(1, "subjects", "list", *url, told=["(unauthorized)"], env={"HALFLIGHT_KEY": "hf_wrong"})
    fails(1, "enroll", "x", PHOTO, *url, told=["(forbidden)", "higher role"], env=key)
    succeeds("identify", PHOTO, *url, env=key)
    succeeds("identify", PHOTO, *url, "--key", key["HALFLIGHT_KEY"])
    fails(2, "subjects", "list", *url, "--key", "schlüssel", told=["characters that no key has"])


def test_the_version_is_the_packages() -> None:
    assert succeeds("--version").out == f"halflight {version('halflight')}\n"
    assert f'version = "{version("halflight")}"' in (REPO / "pyproject.toml").read_text()


@pytest.mark.slow
def test_every_command_has_help_and_an_unknown_one_is_wrong_use() -> None:
    whole = succeeds("--help").out
    commands = ["serve", "demo", "enroll", "identify", "verify", "subjects", "keys", "models"]
    for command in commands:
        assert command in whole
        assert "Usage: halflight" in succeeds(command, "--help").out
    fails(2, "nonsense", told=["No such command"])
