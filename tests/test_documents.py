"""Tests that the version, commands, settings and links in the documents are real."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.main import get_command

from service.cli.configuration import OTHER_VARIABLES
from service.cli.main import app
from service.settings import Settings
from tests.conftest import REPO

# What npm installed, and what `make docs` gathered.
MADE = ("node_modules", "build")
DOCUMENTS = sorted(
    path
    for path in REPO.rglob("*.md")
    if not any(part.startswith(".") or part in MADE for part in path.relative_to(REPO).parts)
)
# Of a block in a language, the second group is empty.
FENCE = re.compile(r"^```(?:\w+\n.*?|\n(.*?))^```", re.M | re.S)
INLINE = re.compile(r"`(halflight [^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)[^)]*\)")


class Parsed(NamedTuple):
    """One call as the command line takes it. `options`: every name that the command's options have."""

    path: str
    options: frozenset[str]
    refusal: str | None


def commands() -> list[str]:
    """Every line of a fenced block, without its comment and its trailing `&`."""
    return [
        line.split("  #")[0].strip().rstrip("&").strip()
        for path in DOCUMENTS
        for block in FENCE.findall(path.read_text(encoding="utf-8"))
        for line in block.splitlines()
    ]


def inline() -> list[str]:
    """Every call within prose."""
    return [call for path in DOCUMENTS for call in INLINE.findall(path.read_text(encoding="utf-8"))]


def parse(words: tuple[str, ...]) -> Parsed:
    """Runs Typer's parser in this process, not the command.

    `refusal` is the parser's message, None if it takes the call. A missing argument is no refusal:
    prose may name a command alone.
    """
    # Typer brings a parser of its own, whose classes it does not export.
    command: Any = get_command(app)
    context = command.make_context("halflight", [], resilient_parsing=True)
    context.resilient_parsing = False
    left, refusal = list(words), None
    try:
        while left and hasattr(command, "resolve_command"):
            name, command, left = command.resolve_command(context, left)
            context = type(context)(command, parent=context, info_name=name)
        _, left, _ = command.make_parser(context).parse_args(left)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        refusal = str(error.format_message())
    else:
        refusal = f"takes no {left}" if left else None
    options = (option for one in command.get_params(context) for option in (*one.opts, *one.secondary_opts))
    return Parsed(context.command_path, frozenset(options), refusal)


def commands_there() -> Iterator[tuple[str, frozenset[str]]]:
    """Every command with the names of its options, as the parser has them."""

    def walk(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, *path, name)
        if not hasattr(command, "commands"):
            yield path

    for path in walk(get_command(app)):
        parsed = parse(path)
        yield parsed.path, frozenset(option for option in parsed.options if option.startswith("--"))


def test_the_version_is_the_last_one_of_the_changelog() -> None:
    heading = re.search(r"^## (\d\S*)", (REPO / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert heading is not None
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert heading.group(1) == project == version("halflight")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPO)))
def test_links_lead_to_files(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_halflight_command_of_the_documents_exists() -> None:
    named = {
        tuple(shlex.split(line)[1:])
        for line in [*commands(), *inline()]
        if re.match(r"(\.venv/bin/)?halflight ", line)
    }
    assert len(named) >= 10
    for words in sorted(named):
        parsed = parse(words)
        for option in (word for word in words if word.startswith("--")):
            assert option in parsed.options, f"{parsed.path} has no {option}"
        assert parsed.refusal is None, f"halflight {' '.join(words)}"


def test_the_parser_refuses_a_call_that_the_command_line_does_not_take() -> None:
    assert "no such option" in str(parse(("serve", "--dta", "x")).refusal).lower()
    assert parse(("verify", "probe.png", "anna")).refusal is not None
    assert "no such command" in str(parse(("veryfy", "probe.png")).refusal).lower()


def test_the_parser_knows_the_options_of_a_subcommand() -> None:
    parsed = parse(("keys", "create"))
    assert parsed.path == "halflight keys create"
    assert {"--role", "--label", "--data", "--database-url", "--help"} <= parsed.options
    assert "--json" not in parsed.options


def test_every_make_target_of_the_documents_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (REPO / "Makefile").read_text(encoding="utf-8"), re.M))
    named = {shlex.split(line)[1] for line in commands() if line.startswith("make ")}
    assert {"demo", "test"} <= named <= targets


def test_every_module_that_the_documents_run_exists() -> None:
    named = {
        name
        for path in DOCUMENTS
        for name in re.findall(r"python -m ([a-z_.]+)", path.read_text(encoding="utf-8"))
    }
    assert named >= {"benchmarks.lfw", "benchmarks.gallery", "benchmarks.identify", "export.calibrate"}
    for name in named:
        place = REPO / name.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), name


def test_every_setting_is_documented_and_nothing_else() -> None:
    text = (REPO / "docs" / "operating.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(HALFLIGHT_[A-Z_]+)", text))
    settings = {f"HALFLIGHT_{name.upper()}" for name in (*Settings.model_fields, *OTHER_VARIABLES)}
    assert named == settings


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (REPO / ".ci" / "run").read_text(encoding="utf-8")
