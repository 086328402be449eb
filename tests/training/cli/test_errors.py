"""A user's error ends a command with one sentence, exit status 2 and no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from export.reference_hsst import main
from training.__main__ import app
from training.cli.errors import exit_on_user_error
from training.data.records import DataSetError
from training.engine.loop import Diverged

reference_hsst = typer.Typer()
reference_hsst.command()(main)

# Every command that compiles, with files that are not there: the compiler is looked for before them.
COMPILING = {
    "train": ["hsst-softmax", "SET", "OUT"],
    "builtin distil": ["PHOTOS", "OUT"],
    "detector train": ["PICTURES", "OUT"],
    "standin trunk": ["PHOTOS", "OUT"],
    "compare": ["standin", "SET", "OUT", "--start", "TRUNK"],
}


def refused(result: Result, text: str) -> None:
    assert result.exit_code == 2, result.output
    assert text in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", COMPILING)
def test_compiling_without_a_compiler_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.chdir(tmp_path)
    words = [*command.split(), *COMPILING[command], "--compiled"]
    refused(CliRunner().invoke(app, words), "install g++")
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_building_a_bundle_checks_the_compiler_before_it_makes_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    words = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--standin", "--compiled"]
    refused(CliRunner().invoke(reference_hsst, words), "install g++")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["standin", "photos", "OUT", "--lfw", "none.tar", "--bundle", "BUNDLE"],
        ["standin", "build", "OUT", "--lfw", "none.tar"],
        ["standin", "trunk", "PHOTOS", "OUT"],
        ["synthesise", "standin", "OUT", "--lfw", "none.tar"],
        ["compare", "standin", "SET", "OUT", "--start", "TRUNK"],
        ["compare", "table1", "SET", "OUT", "--only-table"],
        ["builtin", "distil", "PHOTOS", "OUT"],
        ["detector", "train", "PICTURES", "OUT"],
        ["pretrain", "SET", "OUT"],
        ["train", "hsst-softmax", "SET", "OUT"],
        ["evaluate", "net.onnx", "SET"],
    ],
    ids=" ".join,
)
def test_missing_files_are_named(
    words: list[str], bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [str(bundle_dir) if word == "BUNDLE" else word for word in words])
    assert result.exit_code == 2, result.exception
    assert any(word in result.output for word in ("none.tar", "PHOTOS", "SET", "PICTURES", "OUT", "net.onnx"))


def test_a_message_is_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, exit_on_user_error():
        raise DataSetError("[/red] [bold]a[0]")
    assert ended.value.exit_code == 2
    assert capsys.readouterr().err == "[/red] [bold]a[0]\n"


def test_a_diverged_training_exits_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, exit_on_user_error():
        raise Diverged("the loss is not finite")
    assert ended.value.exit_code == 1
    assert "not finite" in capsys.readouterr().err


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(ValueError, match="ours"), exit_on_user_error():
        raise ValueError("ours")
    with pytest.raises(typer.Exit), exit_on_user_error(ValueError):
        raise ValueError("theirs")
