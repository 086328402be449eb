"""Three replicas of one database under mixed load, one of them killed (SIGKILL) at drawn moments.

    python -m benchmarks.replicas --kills 100
    python -m benchmarks.replicas --kills 100 --gallery embedded
    python -m benchmarks.replicas --kills 20 --gallery milvus

Callers enrol, erase and identify at replicas drawn anew for every request. The load goes on through every
kill and every start. Every answer is judged while it does: with pgvector and Milvus (the tests' server of it)
a write must show at every replica with its acknowledgement. One caller enrols and erases subjects and asks
another replica each time: how often its first answer does not show the write yet, and after how long one
does. With `embedded` replicas follow each other every `HALFLIGHT_LOG_POLL_S`, here the default of .5 s.

In the end the load stops, and everything is looked at as `benchmarks.kills` does: what was acknowledged is
there and identifies at every replica, nobody erased is, everything stored opens, and the audit chain
verifies. PostgreSQL itself is not killed, so it runs with `fsync` off. Exit code 1 if anything was found.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.kills.campaign import KINDS, database, postgres
from benchmarks.kills.replica import NotReady
from benchmarks.kills.rounds import Field, Plan
from benchmarks.replicas.callers import Callers, Seen
from faces.rates.intervals import clopper_pearson

POLL_S = 0.5


@dataclass(slots=True)
class Course:
    """What became of the kills. `starts_s`: until each replica was ready again; `quiet_s`: the longest time
    in which no replica answered any request rightly."""

    kills: int = 0
    starts_s: list[float] = field(default_factory=list)
    quiet_s: float = 0.0
    load_s: float = 0.0


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replicas",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--gallery", choices=["embedded", "pgvector", "milvus"], default="pgvector")
    parser.add_argument("--between", type=float, default=4.0, help="seconds of load before a kill, at most")
    parser.add_argument("--down", type=float, default=2.0, help="seconds until the start after it, at most")
    parser.add_argument("--at-most-s", type=float, default=float("inf"), help="begin no kill after this")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    if asked.replicas < 2:
        parser.error("one replica has no other to be seen by")
    return asked


def run(
    asked: argparse.Namespace, place: Path, url: str, milvus: str | None = None
) -> tuple[Field, Callers, Course]:
    """Plays the kills over one database. Raises NotReady if a replica does not start."""
    plan = Plan(replicas=asked.replicas, gallery=asked.gallery, poll_s=POLL_S, milvus=milvus)
    course, draw = Course(), random.Random(asked.seed)  # noqa: S311 - a seed makes the kills repeatable
    with Field(place, plan, asked.seed, url) as played:
        urls = [replica.url for replica in played.replicas]
        began, at_once = time.monotonic(), asked.gallery != "embedded"
        callers = Callers(urls, played.ledger, played.data, asked.seed, at_once=at_once)
        with callers:
            while course.kills < asked.kills and time.monotonic() - began < asked.at_most_s:
                time.sleep(draw.uniform(0, asked.between))
                victim = draw.choice(played.replicas)
                victim.kill()
                course.kills += 1
                time.sleep(draw.uniform(0, asked.down))
                victim.start()
                course.starts_s.append(victim.wait_ready())
            time.sleep(asked.between)
        course.load_s = time.monotonic() - began
        moments = np.sort(np.array([began, *callers.answered]))
        course.quiet_s = float(np.diff(moments).max(initial=0.0))
        played.told.faults += [f"round 0: {fault}" for fault in played.ledger.faults]
        played.check()
    return played, callers, course


def timed(what: str, seen: Sequence[Seen]) -> list[str]:
    """How long other replicas took to show writes, as lines of text."""
    if not seen:
        return [f"  none of the {what} was looked for at another replica"]
    late = [one for one in seen if one.missed]
    after = np.array([one.after_s for one in seen]) * 1000
    answered = np.array([one.answered_s for one in seen]) * 1000
    upper = clopper_pearson(len(late), len(seen)).high
    return [
        f"  {what}: {len(seen)} looked for at another replica; {len(late)} not in its first answer"
        f" (95 %: at most {upper:.2%})",
        f"    asked after {_quantiles(after)} ms and shown; answered after {_quantiles(answered)} ms"
        " (p50, p99, most)",
    ]


def _quantiles(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    return ", ".join(f"{one:.0f}" for one in (*np.percentile(values, [50, 99]), values.max()))


def report(played: Field, callers: Callers, course: Course, asked: argparse.Namespace) -> str:
    """The result as lines of text."""
    ledger, starts = played.ledger, np.array(course.starts_s)
    writes = ledger.enrolled + ledger.erased
    faults = [fault.split(": ")[1] for fault in played.told.faults]
    lines = [
        f"{course.kills} of {asked.kills} kills of one of {asked.replicas} replicas on PostgreSQL,"
        f" {asked.gallery} gallery, seed {asked.seed}, {course.load_s:.0f} s of load; load of the machine"
        f" {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores",
        f"  {ledger.enrolled} enrolments and {ledger.erased} erasures acknowledged,"
        f" {ledger.identified} identifications answered",
        *timed("enrolments", callers.enrolments),
        *timed("erasures", callers.erasures),
        f"  a start was ready after {np.median(starts):.1f} s (median), {starts.max():.1f} s at most"
        if len(starts)
        else "  no start",
        f"  no replica answered for {course.quiet_s:.2f} s at most",
        *(f"  {count:5} requests: {what}" for what, count in sorted(callers.refused.items())),
        f"  {faults.count('lost')} of {writes} acknowledged writes lost"
        f" (95 %: at most {clopper_pearson(faults.count('lost'), max(1, writes)).high:.2%})",
    ]
    known = {kind: words for kind, words in KINDS.items() if kind != "lost"}
    lines += [f"  {faults.count(kind):5} {words}" for kind, words in known.items()]
    lines += [f"  fault: {fault}" for fault in played.told.faults]
    return "\n".join(lines)


@contextmanager
def _milvus(gallery: str) -> Iterator[str | None]:
    """The address of a server for the gallery of that name; it is that of the tests, and not killed."""
    if gallery != "milvus":
        yield None
        return
    from tests.service.store.milvus import MilvusServer

    with tempfile.TemporaryDirectory(prefix="halflight-milvus-") as name, MilvusServer(Path(name)) as server:
        yield server.uri


def main() -> None:
    asked = parsed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with postgres(asked.gallery) as server, database(server, None) as url:
        assert url is not None
        with tempfile.TemporaryDirectory(prefix="halflight-replicas-") as name:
            try:
                with _milvus(asked.gallery) as milvus:
                    played, callers, course = run(asked, Path(name), url, milvus)
            except NotReady as error:
                raise SystemExit(f"a replica did not become ready by itself: {error}") from None
    print(report(played, callers, course, asked), flush=True)
    raise SystemExit(1 if played.told.faults else 0)
