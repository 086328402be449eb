"""Tables fold where they are piped, without colours and losing no letter; downloads say how far they are."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from service.bundles.download import pull
from service.cli.transfer import TransferLines
from tests.conftest import REPO
from tests.service.bundles.origin import CONTENT, Origin, pin, serving

TABLE = """
from rich.text import Text
from service.cli.output import GOOD, print_status, print_table
row = ("/very/long/" + "x" * 300 + "/p.jpg", 0.5, Text("match", GOOD))
print_table(("probe", ">score", "decision"), [row])
print_status("done", GOOD)
"""


def piped(**env: str) -> tuple[str, str]:
    command = [sys.executable, "-c", TABLE]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=REPO, env={"PYTHONPATH": "."} | env
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize(("columns", "width"), [(None, 160), ("100", 100), ("60", 60), ("nonsense", 160)])
def test_a_piped_table_folds_and_keeps_every_letter(columns: str | None, width: int) -> None:
    out, err = piped(FORCE_COLOR="1", **({} if columns is None else {"COLUMNS": columns}))
    assert max(len(line) for line in out.splitlines()) <= width
    assert "\x1b" not in out + err
    assert "…" not in out
    cells = [line.split()[0] for line in out.splitlines()[3:] if line.strip()]
    assert "".join(cells) == "/very/long/" + "x" * 300 + "/p.jpg"
    assert out.count("match") == 1


def test_a_download_without_a_terminal_writes_a_line_now_and_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.partial").write_bytes(CONTENT[: len(CONTENT) // 2])
    with serving(Origin()) as origin:
        pull([pin(url=origin.url)], cache=tmp_path, directories=[], progress=TransferLines().advance)
    lines = capsys.readouterr().err.splitlines()
    name = pin().name
    assert lines[0] == f"{name}: downloading {len(CONTENT) / 1e6:.1f} MB"
    assert re.fullmatch(rf"{name}: [\d.]+ of [\d.]+ MB \(100%\), [\d.]+ MB/s", lines[-1])


def test_the_rate_counts_what_came_and_not_what_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    model = replace(pin(), size=100_000_000)
    lines = TransferLines(every_s=5, clock=lambda: now)
    lines.advance(model, 40_000_000)
    for _ in range(12):
        now += 1.0
        lines.advance(model, 2_000_000)
    now += 1.0
    lines.advance(model, 36_000_000)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "small: downloading 100.0 MB",
        "small: 50.0 of 100.0 MB (50%), 2.0 MB/s",
        "small: 60.0 of 100.0 MB (60%), 2.0 MB/s",
        "small: 100.0 of 100.0 MB (100%), 4.6 MB/s",
    ]
