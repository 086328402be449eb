"""Tests `halflight demo` with a real service: every sample, the table and the contact sheet."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from service.cli.contact_sheet import COLUMNS, TILE_PX
from service.cli.demo_outcomes import Outcome, summary
from service.cli.samples import Subject, load_samples
from tests.conftest import REPO
from tests.service.cli.command import CommandResult, succeeds

SHEET = Path("made") / "contact-sheet.png"
COUNTS = re.compile(
    r"^(\d+) probes of enrolled subjects: (\d+) identified, (\d+) unknown, (\d+) wrong"
    r" \(best candidate right for (\d+)\); (\d+) probes of strangers: (\d+) unknown$",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def subjects() -> tuple[Subject, ...]:
    return load_samples()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(place: Path, bundle_dir: Path) -> CommandResult:
    return succeeds("demo", "--out", SHEET.parent, cwd=place)


def probes(subjects: tuple[Subject, ...], *, enrolled: bool) -> list[str]:
    return [f"{p.parent.name}/{p.name}" for s in subjects if s.enrol == enrolled for p in s.nir_masked]


def rows(demo: CommandResult) -> list[list[str]]:
    return [row for row in demo.cells() if "/nir_masked_" in row[0]]


def test_the_samples_hold_enrolled_subjects_and_strangers(subjects: tuple[Subject, ...]) -> None:
    assert {subject.enrol for subject in subjects} == {True, False}
    for subject in subjects:
        assert all(path.is_file() for path in (*subject.vis, *subject.nir_masked))
        assert subject.vis
        assert subject.nir_masked


def test_the_table_has_a_row_for_every_probe(demo: CommandResult, subjects: tuple[Subject, ...]) -> None:
    shown = {row[0]: row for row in rows(demo)}
    known, strangers = probes(subjects, enrolled=True), probes(subjects, enrolled=False)
    assert set(shown) == {*known, *strangers}
    assert [shown[probe][1] for probe in known] == [probe.split("/")[0] for probe in known]
    assert {shown[probe][1] for probe in strangers} == {"stranger"}
    for _, truth, answer, score, threshold, decision, outcome, _ in shown.values():
        assert (decision == "match") == (float(score) >= float(threshold))
        named = answer if decision == "match" else "stranger"
        right = "correct" if named == truth else "missed" if named == "stranger" else "wrong"
        assert outcome == right


def test_the_summary_counts_the_rows_of_the_table(demo: CommandResult, subjects: tuple[Subject, ...]) -> None:
    (counts,) = COUNTS.findall(demo.out)
    known, right, missed, wrong, first, strangers, kept_out = map(int, counts)
    assert known == right + missed + wrong == len(probes(subjects, enrolled=True))
    assert strangers == len(probes(subjects, enrolled=False))
    outcomes = [(row[1] == "stranger", row[6]) for row in rows(demo)]
    assert right == outcomes.count((False, "correct"))
    assert missed == outcomes.count((False, "missed"))
    assert wrong == outcomes.count((False, "wrong"))
    assert kept_out == outcomes.count((True, "correct"))
    assert first == sum(row[1] == row[2] for row in rows(demo))
    assert first > known / 2, "the way through the service is broken: chance would give a few"


def test_the_contact_sheet_has_a_tile_for_every_probe(
    demo: CommandResult, place: Path, subjects: tuple[Subject, ...]
) -> None:
    assert f"contact sheet: {SHEET}" in demo.out
    sheet = cv2.imdecode(np.frombuffer((place / SHEET).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert sheet is not None
    height, width = sheet.shape[:2]
    tiles = len(rows(demo))
    lines = -(-tiles // COLUMNS)
    assert (height % lines, width % COLUMNS) == (0, 0)
    tall, wide = height // lines, width // COLUMNS
    assert TILE_PX < tall < 2 * TILE_PX
    assert 2 * TILE_PX < wide < 3 * TILE_PX
    for number in range(tiles):
        top, left = number // COLUMNS * tall, number % COLUMNS * wide
        tile = sheet[top : top + tall, left : left + wide]
        assert tile[:TILE_PX, : TILE_PX + 10].std() > 20, f"tile {number} shows no probe"
        assert tile[:TILE_PX, -TILE_PX:].std() > 20, f"tile {number} shows no reference"


def test_the_demo_ends_by_naming_the_console(demo: CommandResult) -> None:
    last = demo.out.strip().splitlines()[-1]
    assert re.fullmatch(r"console: http://127\.0\.0\.1:\d+/ while the service runs; --keep .*", last)


@pytest.mark.slow
def test_a_kept_demo_shows_its_subjects_in_the_console_until_it_is_interrupted(
    tmp_path: Path, bundle_dir: Path
) -> None:
    command = [sys.executable, "-m", "service.cli.main", "demo", "--keep", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        address = next(line.split()[1] for line in running.stdout if line.startswith("console: "))
        page = httpx.get(address)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert len(httpx.get(f"{address}v1/subjects").json()["subjects"]) == 12
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=120) == 0


def test_the_demo_leaves_only_the_contact_sheet_behind(demo: CommandResult, place: Path) -> None:
    assert [path for path in place.rglob("*") if path.is_file()] == [place / SHEET]


def outcome(truth: str | None, answer: str | None, decision: str) -> Outcome:
    return Outcome(Path("p"), truth, decision, answer, 0.5, 0.4, 1.0)


@pytest.mark.parametrize(
    ("truth", "answer", "decision", "verdict"),
    [
        ("a", "a", "match", "correct"),
        ("a", "b", "match", "wrong"),
        ("a", "a", "unknown", "missed"),
        ("a", None, "unknown", "missed"),
        (None, "b", "match", "wrong"),
        (None, "b", "unknown", "correct"),
        (None, None, "unknown", "correct"),
    ],
)
def test_each_outcome_gets_the_right_verdict(
    truth: str | None, answer: str | None, decision: str, verdict: str
) -> None:
    assert outcome(truth, answer, decision).verdict == verdict


def test_strangers_are_counted_separately() -> None:
    given = (outcome("a", "a", "match"), outcome("b", "a", "match"), outcome(None, "a", "match"))
    (counts,) = COUNTS.findall(summary(given))
    assert counts == ("2", "1", "0", "1", "1", "1", "0")
