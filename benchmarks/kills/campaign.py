"""Kills a service with SIGKILL at drawn moments under mixed load, and looks at what is left each time.

    python -m benchmarks.kills --rounds 500
    python -m benchmarks.kills --rounds 50 --replicas 2 --postgres
    python -m benchmarks.kills --rounds 25 --replicas 3 --postgres --gallery pgvector

Each round enrols, erases, identifies, fills a second space and rotates the master key at once, kills the
service (of several replicas at least one), in every second round the rotation too and in every tenth the
start that follows. Then the service must become ready by itself; every acknowledged enrolment must be there
and identify, nobody erased may be found, everything stored must open, and the audit chain must verify. After
`--fresh` rounds a new database begins, so that every chain is verified whole; before that, `halflight audit
verify` is run on it. Exit code 1 if anything was found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.kills.replica import NotReady
from benchmarks.kills.rounds import Field, Plan, Told

KINDS = {
    "lost": "acknowledged enrolments that were lost",
    "half": "enrolments stored by half",
    "returned": "erased subjects that were there",
    "erased and identified": "erased subjects that were identified",
    "not identified": "enrolled subjects that were not identified",
    "hands": "starts that need hands",
    "chain": "audit chains that do not verify",
    "audit": "audit logs that lack an entry",
    "integrity": "faults of integrity",
    "seals": "things stored that do not open",
}


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--fresh", type=int, default=25, help="rounds with one database")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--database-url", help="an empty database, used for all rounds; default: SQLite")
    where.add_argument("--postgres", action="store_true", help="start Debian's PostgreSQL")
    parser.add_argument(
        "--gallery",
        choices=["embedded", "pgvector"],
        default="embedded",
        help="pgvector: with --postgres that of a wheel, which has it",
    )
    parser.add_argument("--keep", type=Path, help="where the data of a round with a fault is kept")
    return parser.parse_args(arguments)


def run(asked: argparse.Namespace, console: Console, told: Told) -> None:
    """Plays the rounds, with a fresh database as often as asked, and adds what they show to `told`.

    Ends early if a service does not start: what was not played has not passed.
    """
    plan = Plan(replicas=asked.replicas, gallery=asked.gallery)
    columns = (TextColumn("kills"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        server = stack.enter_context(postgres(asked.gallery)) if asked.postgres else None
        progress = stack.enter_context(Progress(*columns, TextColumn("{task.description}"), console=console))
        task = progress.add_task("", total=asked.rounds)
        while told.rounds < asked.rounds:
            first, wanted = told.rounds, asked.rounds - told.rounds
            if asked.database_url is None:
                wanted = min(wanted, asked.fresh)
            with tempfile.TemporaryDirectory(prefix="halflight-kills-") as name:
                with database(server, asked.database_url) as url:
                    field = Field(Path(name), plan, asked.seed + first, url)
                    for done in play(field, wanted):
                        faults = f"{len(told.faults + field.told.faults)} faults"
                        progress.update(task, completed=first + done, description=faults)
                        if not console.is_terminal:
                            console.print(f"{first + done} rounds, {faults}")
                if field.told.faults and asked.keep:
                    shutil.copytree(name, asked.keep / f"from-round-{first}", dirs_exist_ok=True)
            for fault in field.told.faults:
                console.print(f"from round {first}: {fault}", markup=False, soft_wrap=True)
            told.add(field.told)
            if field.told.rounds < wanted:
                break


def play(field: Field, rounds: int) -> Iterator[int]:
    """Plays so many rounds with one database, and yields the number of each once it is over."""
    try:
        with field:
            for number in range(1, rounds + 1):
                field.play()
                yield number
            field.end()
    except NotReady as error:
        field.told.faults.append(f"round {field.told.rounds}: hands: {error}")
        return
    command = [sys.executable, "-m", "service.cli.main", "audit", "verify"]
    said = subprocess.run(
        command, env={**os.environ, **field.env}, check=False, capture_output=True, text=True
    )
    if said.returncode:
        field.told.faults.append(f"chain: halflight audit verify ended with {said.returncode}: {said.stderr}")
    field.told.counts["chains verified by command"] += 1


@contextmanager
def postgres(gallery: str) -> Iterator[str]:
    from tests.service.store.postgres import find_binaries, pgvector_binaries, running_server

    if gallery == "pgvector":
        with pgvector_binaries() as wheel, running_server(wheel, icu=False) as server:
            yield server
        return
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql, or give --database-url")
    with running_server(binaries) as server:
        yield server


@contextmanager
def database(server: str | None, given: str | None) -> Iterator[str | None]:
    if server is None:
        yield given
        return
    from tests.service.store.postgres import fresh_database

    with fresh_database(server) as url:
        yield url


def report(told: Told, asked: argparse.Namespace) -> str:
    """The result as lines of text."""
    backend = "SQLite" if not (asked.postgres or asked.database_url) else "PostgreSQL"
    lines = [
        f"{told.rounds} of {asked.rounds} rounds on {backend}, {asked.gallery} gallery,"
        f" {asked.replicas} replica(s),"
        f" seed {asked.seed}, load of the machine {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    ]
    lines += [f"  {count:7} {name}" for name, count in sorted(told.counts.items())]
    if told.starts_s:
        ordered = sorted(told.starts_s)
        lines.append(
            f"  a start was ready after {statistics.median(ordered):.1f} s (median),"
            f" {ordered[-1]:.1f} s at most"
        )
    lines.append(f"  a replica showed all that was acknowledged after {told.lag_s:.1f} s at most")
    found = Counter(fault.split(": ")[1] if fault.startswith("round") else "other" for fault in told.faults)
    lines += [f"  {found.pop(kind, 0):7} {words}" for kind, words in KINDS.items()]
    lines += [f"  {count:7} other: {kind}" for kind, count in found.items()]
    return "\n".join(lines)


def main() -> None:
    asked, told = parsed(), Told()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(asked, Console(stderr=True), told)
    except KeyboardInterrupt:
        print("stopped before the last round")
    print(report(told, asked), flush=True)
    raise SystemExit(1 if told.faults or told.rounds < asked.rounds else 0)
