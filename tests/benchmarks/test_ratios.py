"""Tests that `make bench` states what it measured: file and tables agree, and aims are held to them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ratios.figures import (
    BEGIN,
    END,
    Aim,
    Figure,
    Machine,
    Part,
    Side,
    read_parts,
    shown,
    write_parts,
    write_tables,
)
from tests.conftest import REPO

MACHINE = Machine("a processor", 2, 24.0, "Linux 6", "2026-01-02T03:04:05+00:00", 0.5, 1.25)
PAGE = f"# Figures\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n"


def figure(**change: Any) -> Figure:
    given: dict[str, Any] = {
        "what": "one probe",
        "this": Side("gallery", 20.0, "ms"),
        "other": Side("FAISS", 98.0, "ms"),
        "way": "other/this",
        "aim": Aim("ratio", "least", 5.0),
    }
    return Figure(**{**given, **change})


def test_a_ratio_is_that_of_its_sides_and_an_aim_is_missed_by_a_hair() -> None:
    assert figure().ratio == pytest.approx(4.9)
    assert figure().met is False
    assert figure(other=Side("FAISS", 100.0, "ms")).met is True
    assert figure(way="this/other", aim=Aim("ratio", "most", 0.35)).met is True
    assert figure(aim=Aim("this", "most", 5.0)).met is False
    assert figure(aim=None).met is None
    assert figure().row() == (
        "| one probe | 20.0 ms (gallery) | 98.0 ms (FAISS) | 4.90 (other/this) | ≥ 5.00 | **missed** |"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.0123456, "0.0123"),
        (0.999, "0.999"),
        (9.8765, "9.88"),
        (123.4, "123"),
        (1234567, "1,234,567"),
    ],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_is_no_figure_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="gallery"):
        Side("gallery", value, "ms")


def test_nothing_is_divided_by_zero() -> None:
    with pytest.raises(ValueError, match="one probe"):
        figure(this=Side("gallery", 0.0, "ms"))


def test_a_file_keeps_what_other_runs_found_and_refuses_a_changed_ratio(tmp_path: Path) -> None:
    file, page = tmp_path / "figures.json", tmp_path / "page.md"
    parts = [Part(name, "full", "In turn.", MACHINE, (figure(),)) for name in ("gallery", "starts")]
    write_parts(parts, file)
    assert list(read_parts(file).values()) == parts
    page.write_text(PAGE, encoding="utf-8")
    write_tables(parts, page)
    write_tables(parts[:1], page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Figures\n\nbefore\n\n")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text
    assert "make bench: starts" not in text
    assert text.count(figure().row()) == 1
    changed = json.loads(file.read_text(encoding="utf-8"))
    changed["parts"]["starts"]["figures"][0]["ratio"] = 5.1
    file.write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(ValueError, match="one probe"):
        read_parts(file)


def test_a_page_without_its_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Figures\n", encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape("page.md")):
        write_tables([], page)
    assert page.read_text(encoding="utf-8") == "# Figures\n"


def test_the_documented_tables_are_those_of_the_documented_file() -> None:
    docs = REPO / "docs"
    text = (docs / "performance.md").read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    parts = read_parts(docs / "performance.json")
    assert all(part.size == "full" for part in parts.values())
    assert text.strip() == "\n".join(part.table() for part in parts.values()).strip()


@pytest.mark.slow
def test_every_part_runs_and_its_table_says_what_its_file_says(tmp_path: Path) -> None:
    file, page = tmp_path / "figures.json", tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.ratios", "--size", "toy", "--dir", str(tmp_path / "work")]
    run = subprocess.run(
        [*command, "--json", str(file), "--page", str(page)], cwd=REPO, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(file.read_text(encoding="utf-8"))["parts"]
    assert list(found) == ["gallery", "starts", "service", "batches", "encoders"]
    text = page.read_text(encoding="utf-8")
    for name, part in found.items():
        section = text.split(f"### make bench: {name}\n")[1].split("###")[0]
        rows = [
            [cell.strip() for cell in row.split("|")[1:-1]] for row in section.splitlines() if row[:1] == "|"
        ]
        assert len(rows) - 2 == len(part["figures"]) > 0
        assert "**Toy size" in section
        for row, one in zip(rows[2:], part["figures"], strict=True):
            this, other = one["this"]["value"], one["other"]["value"]
            assert one["ratio"] == (this / other if one["way"] == "this/other" else other / this)
            assert row[0] == one["what"]
            assert row[1].split()[0] == shown(this)
            assert row[2].split()[0] == shown(other)
            assert row[3].split()[0] == shown(one["ratio"])
            assert row[5] == {None: "", True: "reached", False: "**missed**"}[one["met"]]
        assert part["machine"]["cores"] > 0
        assert part["machine"]["began"][:2] == "20"
