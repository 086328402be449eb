"""The examples of docs/clients.md and the README's lines of Python run as they are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.clients.conftest import Keyed
from tests.conftest import REPO, sample_bytes

PAGE = (REPO / "docs" / "clients.md").read_text(encoding="utf-8")
README = (REPO / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def blocks(text: str, language: str) -> list[str]:
    return [block for found, block in BLOCK.findall(text) if found == language]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What the examples name: photos of one subject, a probe, and a folder of three subjects."""
    for name, sample in (("photo1.jpg", "vis_1"), ("photo2.jpg", "vis_2"), ("probe.png", "nir_masked_1")):
        (tmp_path / name).write_bytes(sample_bytes("s13", f"{sample}.jpg"))
    for subject in ("s01", "s02", "s03"):
        (tmp_path / "photos" / subject).mkdir(parents=True)
        (tmp_path / "photos" / subject / "1.jpg").write_bytes(sample_bytes(subject))
    (tmp_path / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    return tmp_path


def run(command: list[str], keyed: Keyed, place: Path, **env: str) -> str:
    """Runs an example; returns its output."""
    mine = {**os.environ, "HALFLIGHT_KEY": keyed.operator, "CURL_HOME": str(place), **env}
    done = subprocess.run(command, cwd=place, env=mine, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]
    return done.stdout


def python(example: str, keyed: Keyed, place: Path) -> str:
    path = str(REPO / "service" / "clients" / "python")
    return run(
        [sys.executable, "-W", "error", "-c", example.replace(ADDRESS, keyed.url)],
        keyed,
        place,
        PYTHONPATH=path,
    )


def erased(keyed: Keyed, *subjects: str) -> None:
    with keyed.service.client(keyed.operator) as web:
        answer: Mapping[str, list[object]] = web.post(
            "/subjects/delete", json={"subject_ids": subjects}
        ).json()
    assert len(answer["receipts"]) == len(subjects)


def test_the_examples_of_curl(keyed: Keyed, place: Path) -> None:
    assert shutil.which("curl"), "the examples need curl"
    (script,) = blocks(PAGE, "")
    told = run(["bash", "-eux", "-c", script.replace(ADDRESS, keyed.url)], keyed, place)
    assert told.count('"decision":"match"') >= 2
    assert "event: decision" in told
    assert '"erased":{"samples":2' in told


def test_the_examples_of_python(keyed: Keyed, place: Path) -> None:
    first, many, watching = blocks(PAGE, "python")
    told = python(first, keyed, place).split()
    assert told[0] == "anna"
    assert told[3] == "True"
    assert told[4:6] == ["anna", "2"]
    followed = python(many, keyed, place)
    assert "100%" in followed
    assert "<html" in (place / "report.html").read_text()
    assert python(watching, keyed, place).count("gate-") == 3
    erased(keyed, "s01", "s02", "s03")


def test_the_lines_of_the_readme(keyed: Keyed, place: Path) -> None:
    (lines,) = blocks(README, "python")
    asked = lines.replace(f'"{ADDRESS}"', f'"{ADDRESS}", key="{keyed.operator}"')
    assert asked != lines
    assert len(list(filter(None, lines.splitlines()))) == 3
    assert python(asked, keyed, place).strip() == "None", "nobody is enrolled"
    with keyed.service.client(keyed.operator) as web:
        photo = (place / "photo1.jpg").read_bytes()
        answer = web.post("/enroll", data={"subject_id": "anna"}, files={"images": photo})
        assert answer.status_code == 201
    # Without an FMR the default decides, which this bundle's masked NIR probes seldom pass.
    (place / "probe.png").write_bytes(sample_bytes("s13", "vis_2.jpg"))
    told = python(asked, keyed, place)
    assert "subject_id='anna'" in told
    erased(keyed, "anna")
