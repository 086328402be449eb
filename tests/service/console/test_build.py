"""The committed build of the console is that of its sources, and its types are those of today's API."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.api.console import DIST
from service.app import create_app
from service.settings import Settings
from tests.conftest import REPO

SERVICE = REPO / "service"
# The console, and the client that it shares with programs.
APP, CLIENT = "console/app", "clients/typescript"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources beside the packages that npm installed. Skips without Node or these."""
    if shutil.which("node") is None:
        pytest.skip("no Node: the build is compared where there is one")
    for room, tool in ((APP, "vite"), (CLIENT, "openapi-typescript")):
        source = SERVICE / room
        if not (source / "node_modules" / ".bin" / tool).exists():
            pytest.skip("no node_modules: make console")
        shutil.copytree(source, tmp_path / room, ignore=shutil.ignore_patterns("node_modules", "dist"))
        (tmp_path / room / "node_modules").symlink_to(source / "node_modules")
    return tmp_path


def run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_build_is_that_of_the_sources(copy: Path) -> None:
    run(copy / APP, "node_modules/.bin/vite", "build")
    assert files(copy / "console" / "dist") == files(DIST)


@pytest.mark.slow
def test_the_sources_fit_the_api_of_today(copy: Path) -> None:
    client = copy / CLIENT
    document = client / "openapi.json"
    document.write_text(json.dumps(create_app(Settings()).openapi()), encoding="utf-8")
    run(client, "node_modules/.bin/openapi-typescript", "openapi.json", "--output", "src/schema.ts")
    assert (client / "src" / "schema.ts").read_bytes() == (
        SERVICE / CLIENT / "src" / "schema.ts"
    ).read_bytes()
    run(client, "node_modules/.bin/tsc", "--noEmit")
    run(copy / APP, "node_modules/.bin/tsc", "--noEmit")


def test_the_build_names_no_other_host() -> None:
    # Namespaces of SVG and the like are names, and nothing is loaded from them.
    for name, content in files(DIST).items():
        hosts = set(re.findall(r"https?://[^/\"'`\s]*", content.decode()))
        assert hosts <= {"http://www.w3.org"}, name
