"""The commands of docs/reproduce.md and of the plans: each parses, and the walk without data is taken."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

from tests.conftest import REPO
from training.__main__ import app

PAGES = ("docs/reproduce.md", "docs/history/plans-before-the-runs.md", "docs/training.md")
FENCE = re.compile(r"^```\n(.*?)^```", re.M | re.S)
CALL = "python -m training "


def calls(page: str) -> list[list[str]]:
    """The words after `python -m training` of every command in the page's blocks."""
    text = (REPO / page).read_text(encoding="utf-8")
    lines = "\n".join(FENCE.findall(text)).replace("\\\n", " ").splitlines()
    found = [line[line.index(CALL) + len(CALL) :] for line in lines if CALL in line]
    return [shlex.split(call) for call in found]


def parse(words: list[str]) -> str | None:
    """What the parser of the command line refuses, if anything; runs nothing."""
    command: Any = get_command(app)
    context = command.make_context("training", [], resilient_parsing=True)
    context.resilient_parsing = False
    left = list(words)
    try:
        while hasattr(command, "resolve_command"):
            name, command, left = command.resolve_command(context, left)
            context = type(context)(command, parent=context, info_name=name)
        _, left, _ = command.make_parser(context).parse_args(left)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return f"takes no {left}" if left else None


@pytest.mark.parametrize("page", PAGES)
def test_every_training_command_of_the_page_is_taken(page: str) -> None:
    found = calls(page)
    assert len(found) >= 8
    for words in found:
        # torchrun's own option stands before the module's name; recipes and plans are words.
        assert parse(words) is None, f"{page}: python -m training {shlex.join(words)}: {parse(words)}"


def test_the_parser_refuses_what_there_is_not() -> None:
    assert "no such option" in str(parse(["prepare", "casia", "A", "B", "--maks", "nir"])).lower()
    assert parse(["reproduce", "fig4"]) is not None


@pytest.mark.slow
@pytest.mark.realdata
def test_the_walk_without_the_data_leads_to_the_tables(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    walk = (REPO / "docs/reproduce.md").read_text(encoding="utf-8").rpartition("## The same commands")[2]
    block = FENCE.findall(walk)[0].replace("\\\n", " ")
    lines = [shlex.split(line)[3:] for line in block.splitlines() if line.startswith(CALL)]
    assert [words[0] for words in lines] == ["synthesise", "prepare", "prepare", "pretrain"] + ["compare"] * 3
    monkeypatch.chdir(tmp_path)
    for words in lines:
        given = [str(shared / "data" / "ict_facekit") if word == "FACEKIT" else word for word in words]
        if words[0] == "prepare":
            given += ["--models", str(shared / "models"), "--workers", "1"]
        if words[0] == "compare":
            given += ["--bootstraps", "10"]
        done = CliRunner().invoke(app, given)
        assert done.exit_code == 0, f"{shlex.join(words)}: {done.output}"
    for out, name, arms in (("OUT1", "table1", 4), ("OUT4", "fig4", 2), ("OUT2", "table2", 2)):
        page = (tmp_path / out / f"SYNTHETIC-{name}.md").read_text()
        assert "SYNTHETIC" in page
        assert "98.25" not in page, "no figure of the paper stands beside a synthetic one"
        table = json.loads((tmp_path / out / f"SYNTHETIC-{name}.json").read_text())
        assert len({result["arm"] for result in table["results"]}) == arms
