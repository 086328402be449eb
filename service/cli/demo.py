"""`halflight demo`: a real service, the sample subjects enrolled, masked NIR probes identified."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from service.cli.output import BAD, GOOD, UNSURE, Failure, emit_text, progress, say, show, stderr
from service.cli.remote import Answer, Remote
from service.cli.sheet import Tile, write

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
COLUMNS = ("probe", "truth", "answer", ">score", ">threshold", "decision", "outcome", ">ms")
ABOUT_WRONG = (
    "Rendered faces resemble each other more than people do, so some pass a threshold that was calibrated"
    " on photos; docs/results.md has the figures on real photos."
)
STYLE = {"correct": GOOD, "wrong": BAD, "missed": UNSURE}


@dataclass(frozen=True, slots=True)
class Subject:
    """One synthetic subject. One that is not enrolled must come back unknown."""

    subject_id: str
    enrol: bool
    vis: tuple[Path, ...]
    nir_masked: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One probe and what the service said."""

    probe: Path
    truth: str | None
    decision: str
    answer: str | None
    score: float | None
    threshold: float
    ms: float

    @property
    def verdict(self) -> str:
        """`correct`, `wrong` (another subject was named), or `missed` (an enrolled one was not)."""
        named = self.answer if self.decision == "match" else None
        if named == self.truth:
            return "correct"
        return "missed" if named is None else "wrong"


def load_samples(root: Path = SAMPLES) -> tuple[Subject, ...]:
    """Raises Failure where the samples are not there."""
    try:
        index = json.loads((root / "samples.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure("the sample subjects are missing", detail=str(error.strerror)) from error
    return tuple(
        Subject(
            row["subject_id"],
            row["enrol"],
            tuple(root / row["subject_id"] / name for name in row["vis"]),
            tuple(root / row["subject_id"] / name for name in row["nir_masked"]),
        )
        for row in index["subjects"]
    )


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running until Ctrl-C.")] = False,
    out: Annotated[Path, typer.Option(help="Where the contact sheet goes.")] = Path("demo-out"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
) -> None:
    """Enrol synthetic subjects over HTTP, identify masked near-infrared probes, show the answers."""
    subjects = load_samples()
    with _service(port) as address, Remote(address, None) as remote:
        _enrol(remote, subjects)
        outcomes = _identify(remote, subjects)
        show(COLUMNS, (_row(outcome) for outcome in outcomes))
        sheet = out / "contact-sheet.png"
        write(sheet, [_tile(outcome, subjects) for outcome in outcomes])
        emit_text(summary(outcomes))
        if any(outcome.verdict == "wrong" for outcome in outcomes):
            emit_text(ABOUT_WRONG)
        emit_text(f"contact sheet: {sheet}")
        if keep:
            emit_text(f"the service runs at {address} (documentation: {address}/docs); Ctrl-C ends it")
            _wait()


def summary(outcomes: tuple[Outcome, ...]) -> str:
    """Honest counts, strangers on their own."""
    known = [o for o in outcomes if o.truth is not None]
    strangers = [o for o in outcomes if o.truth is None]
    right, wrong, missed = (sum(o.verdict == v for o in known) for v in ("correct", "wrong", "missed"))
    kept_out = sum(o.verdict == "correct" for o in strangers)
    first = sum(o.answer == o.truth for o in known)
    return (
        f"{len(known)} probes of enrolled subjects: {right} identified, {missed} unknown, {wrong} wrong"
        f" (best candidate right for {first}); {len(strangers)} probes of strangers: {kept_out} unknown"
    )


@contextmanager
def _service(port: int) -> Iterator[str]:
    """A `halflight serve` of its own over a temporary directory; its address. Always ended."""
    command = [sys.executable, "-m", "service.cli.main", "serve", "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="halflight-demo-") as folder:
        log = Path(folder) / "service.log"
        with log.open("w") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                [*command, "--data", str(Path(folder) / "data")],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            with stderr().status("starting the service"):
                yield _address(process, log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """From the line that `serve` prints when it is ready; its end is the end of the start."""
    line = process.stdout.readline() if process.stdout else ""
    for word in line.split():
        if word.startswith("http://"):
            return word
    raise Failure(
        "the service did not start", detail=log.read_text(encoding="utf-8", errors="replace")[-2000:]
    )


def _enrol(remote: Remote, subjects: tuple[Subject, ...]) -> None:
    enrolled = [subject for subject in subjects if subject.enrol]
    with progress() as bar:
        for subject in bar.track(enrolled, description="enrolling"):
            remote.enroll(
                subject.subject_id,
                [path.read_bytes() for path in subject.vis],
                idempotency_key=f"demo-{subject.subject_id}",
                allow_duplicate=True,
            )
    photos = sum(len(subject.vis) for subject in enrolled)
    say(f"enrolled {len(enrolled)} subjects with {photos} visible-light photos")


def _identify(remote: Remote, subjects: tuple[Subject, ...]) -> tuple[Outcome, ...]:
    probes = [(subject, path) for subject in subjects for path in subject.nir_masked]
    outcomes = []
    with progress() as bar:
        for subject, path in bar.track(probes, description="identifying"):
            started = time.perf_counter()
            answer = remote.identify(path.read_bytes(), {"top_k": 1})
            ms = (time.perf_counter() - started) * 1000
            outcomes.append(_outcome(subject, path, answer, ms))
    return tuple(outcomes)


def _outcome(subject: Subject, path: Path, answer: Answer, ms: float) -> Outcome:
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


def _row(outcome: Outcome) -> tuple[object, ...]:
    return (
        f"{outcome.probe.parent.name}/{outcome.probe.name}",
        outcome.truth or "stranger",
        outcome.answer or "-",
        "-" if outcome.score is None else f"{outcome.score:.3f}",
        f"{outcome.threshold:.3f}",
        outcome.decision,
        Text(outcome.verdict, STYLE[outcome.verdict]),
        f"{outcome.ms:.0f}",
    )


def _tile(outcome: Outcome, subjects: tuple[Subject, ...]) -> Tile:
    reference = next((s.vis[0] for s in subjects if s.subject_id == outcome.answer), None)
    score = "-" if outcome.score is None else f"{outcome.score:.2f}"
    return Tile(
        outcome.probe.read_bytes(),
        reference.read_bytes() if reference else None,
        (
            f"{outcome.truth or 'stranger'} -> {outcome.answer or '-'}",
            f"{score} against {outcome.threshold:.2f}: {outcome.decision}, {outcome.verdict}",
        ),
        outcome.verdict,
    )


def _wait() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        say("stopping")
