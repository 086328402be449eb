"""Implements `halflight demo`: start a service, enrol the samples, identify masked NIR probes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from service.cli.client import ServiceClient
from service.cli.contact_sheet import write_contact_sheet
from service.cli.demo_outcomes import COLUMNS, Outcome, outcome_of, summary, table_row, tile_of
from service.cli.output import (
    Failure,
    print_line,
    print_status,
    print_table,
    progress_bar,
    stderr_console,
)
from service.cli.samples import Subject, load_samples

ABOUT_WRONG = (
    "Rendered faces resemble each other more than people do, so some pass a threshold that was calibrated"
    " on photos; docs/results.md has the figures on real photos."
)
# Stricter than the default of bundles, because rendered faces are so alike.
FMR = 1e-6


def demo(
    keep: Annotated[
        bool | None,
        typer.Option(
            "--keep/--no-keep",
            help="Leave the service running until Ctrl-C, to look at the console. By default on a terminal.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the contact sheet goes.")] = Path("demo-out"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
) -> None:
    """Enrol synthetic subjects over HTTP, identify masked near-infrared probes, show the answers."""
    subjects = load_samples()
    with _service(port) as address, ServiceClient(address, None) as client:
        _enrol(client, subjects)
        fmr = _strict(client)
        outcomes = _identify(client, subjects, fmr)
        print_table(COLUMNS, (table_row(outcome) for outcome in outcomes))
        sheet = out / "contact-sheet.png"
        write_contact_sheet(sheet, [tile_of(outcome, subjects) for outcome in outcomes])
        print_line(summary(outcomes))
        if fmr is not None:
            print_line(f"decided at FMR {fmr:g}: rendered faces resemble each other more than people do")
        if any(outcome.verdict == "wrong" for outcome in outcomes):
            print_line(ABOUT_WRONG)
        print_line(f"contact sheet: {sheet}")
        watched = sys.stdin.isatty() and sys.stdout.isatty()
        if watched if keep is None else keep:
            print_line(f"console: {address}/ (documentation of the API: {address}/docs); Ctrl-C ends it")
            _wait_for_interrupt()
        else:
            print_line(f"console: {address}/ while the service runs; --keep leaves it running")


@contextmanager
def _service(port: int) -> Iterator[str]:
    """Runs `halflight serve` over a temporary directory, yields its address and always stops it."""
    command = [sys.executable, "-m", "service.cli.main", "serve", "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="halflight-demo-") as folder:
        log = Path(folder) / "service.log"
        with log.open("w") as errors:
            process = subprocess.Popen(  # noqa: S603 - this interpreter
                [*command, "--data", str(Path(folder) / "data")],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            with stderr_console().status("starting the service"):
                yield _address(process, log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    """Reads the address that `serve` prints once it is ready. Raises Failure if it never does."""
    line = process.stdout.readline() if process.stdout else ""
    for word in line.split():
        if word.startswith("http://"):
            return word
    raise Failure(
        "the service did not start", detail=log.read_text(encoding="utf-8", errors="replace")[-2000:]
    )


def _enrol(client: ServiceClient, subjects: tuple[Subject, ...]) -> None:
    enrolled = [subject for subject in subjects if subject.enrol]
    with progress_bar() as bar:
        for subject in bar.track(enrolled, description="enrolling"):
            client.enroll(
                subject.subject_id,
                [path.read_bytes() for path in subject.vis],
                idempotency_key=f"demo-{subject.subject_id}",
                options={"duplicates": "ignore"},
            )
    photos = sum(len(subject.vis) for subject in enrolled)
    print_status(f"enrolled {len(enrolled)} subjects with {photos} visible-light photos")


def _strict(client: ServiceClient) -> float | None:
    """`FMR` where every pair of conditions has it; None for the bundle's default."""
    (table,) = [one for one in client.thresholds()["in_force"] if one["camera"] is None]
    has_it = all(any(point["fmr"] == FMR for point in pair["points"]) for pair in table["pairs"])
    return FMR if has_it else None


def _identify(client: ServiceClient, subjects: tuple[Subject, ...], fmr: float | None) -> tuple[Outcome, ...]:
    options = {"top_k": 1} if fmr is None else {"top_k": 1, "fmr": fmr}
    probes = [(subject, path) for subject in subjects for path in subject.nir_masked]
    outcomes = []
    with progress_bar() as bar:
        for subject, path in bar.track(probes, description="identifying"):
            started = time.perf_counter()
            answer = client.identify(path.read_bytes(), options)
            ms = (time.perf_counter() - started) * 1000
            outcomes.append(outcome_of(subject, path, answer, ms))
    return tuple(outcomes)


def _wait_for_interrupt() -> None:
    """Waits for Ctrl-C."""
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print_status("stopping")
