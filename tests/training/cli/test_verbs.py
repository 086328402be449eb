"""`python -m training --help` shows six verbs of research; old names still work, unseen."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from training.__main__ import app


def test_research_has_six_verbs() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    shown = [c for c in root.commands.values() if not c.hidden and not getattr(c, "rich_help_panel", None)]
    verbs = {"prepare", "synthesise", "pretrain", "train", "compare", "evaluate"}
    assert {command.name for command in shown} == verbs


@pytest.mark.parametrize(
    "words",
    [
        ["masks"],
        ["scenes"],
        ["rendered-family"],
        ["standin", "photos"],
        ["standin", "build"],
        ["synthesise", "masks"],
        ["synthesise", "scenes"],
        ["synthesise", "rendered"],
        ["synthesise", "photos"],
        ["synthesise", "standin"],
    ],
    ids=" ".join,
)
def test_old_and_new_names_of_synthesis_are_commands(words: list[str]) -> None:
    assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
