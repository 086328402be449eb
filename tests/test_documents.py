"""What the documents promise is there: version, commands, settings, links."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from service.cli.configuration import ELSEWHERE
from service.cli.main import app
from service.settings import Settings
from tests.conftest import REPO

DOCUMENTS = sorted(
    path
    for path in REPO.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(REPO).parts)
)
GROUPS = ("models", "keys", "subjects", "bundle")
FENCE = re.compile(r"^```\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`(halflight [^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)[^)]*\)")


def commands() -> list[str]:
    """Every line of a fenced block, with what is prompted away."""
    return [
        line.split("  #")[0].strip().rstrip("&").strip()
        for path in DOCUMENTS
        for block in FENCE.findall(path.read_text(encoding="utf-8"))
        for line in block.splitlines()
    ]


def inline() -> list[str]:
    """Every call within prose."""
    return [call for path in DOCUMENTS for call in INLINE.findall(path.read_text(encoding="utf-8"))]


def refusal(words: tuple[str, ...]) -> str | None:
    """What the parser says against a call. A missing argument is no fault: prose may name a command alone."""
    # Typer brings a parser of its own, whose classes it does not show.
    command: Any = get_command(app)
    context = command.make_context("halflight", [], resilient_parsing=True)
    context.resilient_parsing = False
    left = list(words)
    try:
        while left and hasattr(command, "resolve_command"):
            name, command, left = command.resolve_command(context, left)
            context = type(context)(command, parent=context, info_name=name)
        _, left, _ = command.make_parser(context).parse_args(left)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return f"takes no {left}" if left else None


def test_the_version_is_the_changelogs_first() -> None:
    heading = re.search(r"^## (\S+)", (REPO / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert heading is not None
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert heading.group(1) == project == version("halflight")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPO)))
def test_links_lead_to_files(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_halflight_command_of_the_documents_exists() -> None:
    said = {
        tuple(shlex.split(line)[1:])
        for line in [*commands(), *inline()]
        if re.match(r"(\.venv/bin/)?halflight ", line)
    }
    assert len(said) >= 10
    for words in sorted(said):
        path = words[: 2 if words[0] in GROUPS else 1]
        asked = [sys.executable, "-m", "service.cli.main", *path, "--help"]
        text = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        for option in (word for word in words if word.startswith("--")):
            assert option in text, f"halflight {' '.join(path)} has no {option}"
        assert refusal(words) is None, f"halflight {' '.join(words)}"


def test_a_call_that_the_command_line_does_not_take_is_told() -> None:
    assert "no such option" in str(refusal(("serve", "--dta", "x"))).lower()
    assert refusal(("verify", "probe.png", "anna")) is not None
    assert "no such command" in str(refusal(("veryfy", "probe.png"))).lower()


def test_every_make_target_of_the_documents_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (REPO / "Makefile").read_text(encoding="utf-8"), re.M))
    said = {shlex.split(line)[1] for line in commands() if line.startswith("make ")}
    assert {"demo", "test"} <= said <= targets


def test_every_module_that_the_documents_run_is_there() -> None:
    said = {
        name
        for path in DOCUMENTS
        for name in re.findall(r"python -m ([a-z_.]+)", path.read_text(encoding="utf-8"))
    }
    assert said >= {"benchmarks.lfw", "benchmarks.gallery", "benchmarks.identify", "export.calibrate"}
    for name in said:
        place = REPO / name.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), name


def test_every_setting_is_documented_and_nothing_else() -> None:
    text = (REPO / "docs" / "operating.md").read_text(encoding="utf-8")
    said = set(re.findall(r"`(HALFLIGHT_[A-Z_]+)", text))
    there = {f"HALFLIGHT_{name.upper()}" for name in (*Settings.model_fields, *ELSEWHERE)}
    assert said == there


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (REPO / ".ci" / "run").read_text(encoding="utf-8")
