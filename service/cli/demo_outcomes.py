"""Judges the answers of the demo and presents them as a table, a summary and a contact sheet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from service.cli.client import Answer
from service.cli.contact_sheet import Tile
from service.cli.output import BAD, GOOD, UNSURE
from service.cli.samples import Subject

COLUMNS = ("probe", "truth", "answer", ">score", ">threshold", "decision", "outcome", ">ms")
STYLE = {"correct": GOOD, "wrong": BAD, "missed": UNSURE}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One probe and the answer of the service."""

    probe: Path
    truth: str | None
    decision: str
    answer: str | None
    score: float | None
    threshold: float | None
    ms: float

    @property
    def verdict(self) -> str:
        """`correct`, `wrong` (another subject was named), or `missed` (an enrolled one was not)."""
        named = self.answer if self.decision == "match" else None
        if named == self.truth:
            return "correct"
        return "missed" if named is None else "wrong"


def outcome_of(subject: Subject, path: Path, answer: Answer, ms: float) -> Outcome:
    """Reads the outcome of one probe from the answer to /identify."""
    result = answer["results"][0]
    best = result["candidates"][0] if result["candidates"] else None
    return Outcome(
        probe=path,
        truth=subject.subject_id if subject.enrol else None,
        decision=result["decision"],
        answer=best["subject_id"] if best else None,
        score=best["score"] if best else None,
        threshold=result["threshold"],
        ms=ms,
    )


def summary(outcomes: tuple[Outcome, ...]) -> str:
    """Counts the outcomes, those of strangers separately."""
    known = [o for o in outcomes if o.truth is not None]
    strangers = [o for o in outcomes if o.truth is None]
    right, wrong, missed = (sum(o.verdict == v for o in known) for v in ("correct", "wrong", "missed"))
    kept_out = sum(o.verdict == "correct" for o in strangers)
    first = sum(o.answer == o.truth for o in known)
    return (
        f"{len(known)} probes of enrolled subjects: {right} identified, {missed} unknown, {wrong} wrong"
        f" (best candidate right for {first}); {len(strangers)} probes of strangers: {kept_out} unknown"
    )


def table_row(outcome: Outcome) -> tuple[object, ...]:
    """Returns the row of the table, in the order of COLUMNS."""
    return (
        f"{outcome.probe.parent.name}/{outcome.probe.name}",
        outcome.truth or "stranger",
        outcome.answer or "-",
        "-" if outcome.score is None else f"{outcome.score:.4f}",
        "-" if outcome.threshold is None else f"{outcome.threshold:.4f}",
        outcome.decision,
        Text(outcome.verdict, STYLE[outcome.verdict]),
        f"{outcome.ms:.0f}",
    )


def tile_of(outcome: Outcome, subjects: tuple[Subject, ...]) -> Tile:
    """Returns the tile of the contact sheet."""
    reference = next((s.vis[0] for s in subjects if s.subject_id == outcome.answer), None)
    score = "-" if outcome.score is None else f"{outcome.score:.2f}"
    limit = "no threshold" if outcome.threshold is None else f"{outcome.threshold:.2f}"
    return Tile(
        outcome.probe.read_bytes(),
        reference.read_bytes() if reference else None,
        (
            f"{outcome.truth or 'stranger'} -> {outcome.answer or '-'}",
            f"{score} against {limit}: {outcome.decision}, {outcome.verdict}",
        ),
        outcome.verdict,
    )
