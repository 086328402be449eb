"""A long run at a share of what the service can do, with enrolments and erasures: does anything grow?

    python -m benchmarks.soak --minutes 60 --share 0.7 --output build/soak

First all callers at once make the largest batches, for which the networks take memory that they keep. Then
finds the capacity: several callers without a pause send the same mix (eight of ten identify, one enrols, one
erases what was enrolled first). Then requests fall due at random moments at a share of that rate,
and each is timed from when it was due, so that a service that falls behind is seen to. Every `--every`
seconds it notes resident memory (the service and its decoding workers), open files, the write-ahead log, and
p50 and p99. Prints each column with its slope an hour and the 95 % interval of that (Theil-Sen), and writes
`soak.csv` and `soak.png`. What was seen in the first `--warm-up` minutes, which come before the `--minutes`,
is written too but not judged.

With `--follow`, the callers that measured the capacity go on instead, and each rests so long after an answer
that it waits for answers for that share of the time. Their load follows a machine whose speed changes because
others use it; then it is not seen if the service falls behind.
"""

from __future__ import annotations

import argparse
import csv
import os
import queue
import random
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.hostile import SAMPLES, Served
from benchmarks.threads import AtWork, run_together

MIB = 1 << 20
SENDERS, PEOPLE, STANDING = 24, 14, 60
CAPACITY_S, BURST_S = 30.0, 20.0
COLUMNS = {
    "service_mib": "service, MiB",
    "workers_mib": "workers, MiB",
    "files": "open files",
    "wal_mib": "write-ahead log, MiB",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
}


@dataclass(frozen=True, slots=True)
class Row:
    """What was seen in one interval, which ended `minute` minutes after the begin."""

    minute: float
    service_mib: float
    workers_mib: float
    files: int
    wal_mib: float
    p50_ms: float
    p99_ms: float
    requests: int
    refused: int
    templates: int
    machine_load: float


class Mix:
    """Sends the mixed load. Safe to use from several threads; each has a connection of its own."""

    def __init__(self, served: Served) -> None:
        self._base = f"http://127.0.0.1:{served.port}"
        self._headers = {"authorization": f"Bearer {served.key}"}
        self._local, self._lock = threading.local(), threading.Lock()
        self._enrolled: deque[str] = deque()
        self._count = 0
        self._photos = [(SAMPLES / f"s{n:02}" / "vis_1.jpg").read_bytes() for n in range(1, PEOPLE + 1)]
        self._probes = [
            (SAMPLES / f"s{n:02}" / "nir_masked_1.jpg").read_bytes() for n in range(1, PEOPLE + 1)
        ]
        self.statuses: Counter[tuple[str, int]] = Counter()

    def send(self, draw: float) -> None:
        """One request; `draw`, from 0 to 1, says which."""
        http: httpx.Client | None = getattr(self._local, "http", None)
        if http is None:
            http = self._local.http = httpx.Client(base_url=self._base, timeout=300, headers=self._headers)
        kind = "identify" if draw < 0.8 else "enrol" if draw < 0.9 else "erase"
        if kind == "erase" and len(self._enrolled) <= STANDING:
            kind = "enrol"
        elif kind == "enrol" and len(self._enrolled) >= STANDING + 10:
            kind = "erase"
        person = int(draw * 1e6) % PEOPLE
        answer = getattr(self, f"_{kind}")(http, person)
        with self._lock:
            self.statuses[kind, answer.status_code] += 1

    def fill(self) -> None:
        """Enrols as many as stay enrolled throughout."""
        with httpx.Client(base_url=self._base, timeout=300, headers=self._headers) as http:
            for number in range(STANDING):
                self._enrol(http, number % PEOPLE).raise_for_status()

    def _identify(self, http: httpx.Client, person: int) -> httpx.Response:
        return http.post("/identify", content=self._probes[person], headers={"content-type": "image/jpeg"})

    def _enrol(self, http: httpx.Client, person: int) -> httpx.Response:
        with self._lock:
            self._count += 1
            subject = f"soak-{self._count}"
        files = [("images", ("photo.jpg", self._photos[person], "image/jpeg"))]
        answer = http.post("/enroll", data={"subject_id": subject, "duplicates": "ignore"}, files=files)
        if answer.status_code == httpx.codes.CREATED:
            with self._lock:
                self._enrolled.append(subject)
        return answer

    def _erase(self, http: httpx.Client, _person: int) -> httpx.Response:
        with self._lock:
            subject = self._enrolled.popleft()
        return http.delete(f"/subjects/{subject}")


def capacity(mix: Mix, draw: random.Random, seconds: float, callers: int) -> float:
    """Requests a second that so many callers without a pause get answered."""
    end, done = time.monotonic() + seconds, [0] * callers

    def work(number: int, seed: int) -> None:
        own = random.Random(seed)  # noqa: S311 - a seed makes the run repeatable
        while time.monotonic() < end:
            mix.send(own.random())
            done[number] += 1

    began = time.monotonic()
    run_together([partial(work, n, draw.randrange(1 << 30)) for n in range(callers)])
    return sum(done) / (time.monotonic() - began)


class Timed(AtWork):
    """Callers at work, and the seconds of their answers."""

    def __init__(self, works: Sequence[Callable[[], None]]) -> None:
        super().__init__(works)
        self._taken_s: list[float] = []
        self._lock = threading.Lock()

    def note(self, seconds: float) -> None:
        with self._lock:
            self._taken_s.append(seconds)

    def taken(self) -> list[float]:
        """Seconds of the requests answered since the last call."""
        with self._lock:
            taken, self._taken_s = self._taken_s, []
        return taken


class Following(Timed):
    """Callers that are at work for a share of the time; the seconds of each answer."""

    def __init__(self, mix: Mix, share: float, callers: int, seed: int) -> None:
        self._mix, self._share = mix, share
        super().__init__([partial(self._work, random.Random(seed + n)) for n in range(callers)])  # noqa: S311

    def _work(self, draw: random.Random) -> None:
        while not self.over.is_set():
            began = time.monotonic()
            self._mix.send(draw.random())
            seconds = time.monotonic() - began
            self.note(seconds)
            self.over.wait(draw.expovariate(1.0) * seconds * (1 - self._share) / self._share)


class Load(Timed):
    """Requests that fall due at random moments at a rate; the seconds from then to each answer."""

    def __init__(self, mix: Mix, rate_per_s: float, seed: int) -> None:
        self._mix, self._rate, self._draw = mix, rate_per_s, random.Random(seed)  # noqa: S311
        self._due: queue.SimpleQueue[tuple[float, float] | None] = queue.SimpleQueue()
        super().__init__([*[self._work] * SENDERS, self._schedule])

    def _schedule(self) -> None:
        due = time.monotonic()
        while not self.over.is_set():
            due += self._draw.expovariate(self._rate)
            time.sleep(max(0.0, due - time.monotonic()))
            self._due.put((due, self._draw.random()))
        for _ in range(SENDERS):
            self._due.put(None)

    def _work(self) -> None:
        while (entry := self._due.get()) is not None:
            due, draw = entry
            self._mix.send(draw)
            self.note(time.monotonic() - due)


def look(served: Served, data: Path, taken: Sequence[float], minute: float, refused: int) -> Row:
    service, workers = served.resident_mib()
    files = len(list(Path(f"/proc/{served.process.pid}/fd").iterdir()))
    wal = sum(path.stat().st_size for path in data.glob("*.db-wal"))
    ms = np.array(taken or [float("nan")]) * 1000
    health = httpx.get(f"http://127.0.0.1:{served.port}/health/ready", timeout=60).json()
    return Row(
        minute=round(minute, 2),
        service_mib=round(service, 1),
        workers_mib=round(workers, 1),
        files=files,
        wal_mib=round(wal / MIB, 2),
        p50_ms=round(float(np.percentile(ms, 50)), 1),
        p99_ms=round(float(np.percentile(ms, 99)), 1),
        requests=len(taken),
        refused=refused,
        templates=health.get("templates") or 0,
        machine_load=round(os.getloadavg()[0], 1),
    )


def slopes(kept: Sequence[Row]) -> dict[str, tuple[float, float, float]]:
    """The slope an hour of each column, with its 95 % interval."""
    from scipy.stats import theilslopes  # type: ignore[import-untyped]

    hours = np.array([row.minute for row in kept]) / 60
    found = {}
    for name in COLUMNS:
        values = np.array([getattr(row, name) for row in kept], np.float64)
        fit = theilslopes(values, hours, 0.95)
        found[name] = (float(fit.slope), float(fit.low_slope), float(fit.high_slope))
    return found


def table(kept: Sequence[Row], found: dict[str, tuple[float, float, float]]) -> str:
    """As Markdown: each column at the begin, at the end, and its slope."""
    part = max(1, len(kept) // 5)
    lines = [
        "| | first fifth | last fifth | highest | slope an hour (95 % interval) |",
        "|---|---|---|---|---|",
    ]
    for name, words in COLUMNS.items():
        values = [getattr(row, name) for row in kept]
        slope, low, high = found[name]
        first, last = np.median(values[:part]), np.median(values[-part:])
        lines.append(
            f"| {words} | {first:.4g} | {last:.4g} | {max(values):.4g}"
            f" | {slope:+.3g} ({low:+.3g} to {high:+.3g}) |"
        )
    return "\n".join(lines)


def draw_plot(rows: Sequence[Row], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 11), layout="constrained")
    FigureCanvasAgg(figure)
    names = [*COLUMNS, "machine_load"]
    for axis, name in zip(figure.subplots(len(names), 1, sharex=True), names, strict=True):
        axis.plot([row.minute for row in rows], [getattr(row, name) for row in rows], linewidth=1)
        axis.set_ylabel(COLUMNS.get(name, "load"), fontsize=8)
        axis.set_ylim(bottom=0)
    axis.set_xlabel("minutes")
    figure.savefig(path, dpi=110)


def write(rows: Sequence[Row], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "soak.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*Row.__slots__])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=20.0, metavar="MINUTES", help="before --minutes")
    parser.add_argument("--share", type=float, default=0.7)
    parser.add_argument("--every", type=float, default=30.0)
    parser.add_argument("--callers", type=int, default=4, help="for the capacity")
    parser.add_argument("--capacity-s", type=float, default=CAPACITY_S)
    parser.add_argument("--follow", action="store_true", help="for a machine that others use")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("build/soak"))
    asked = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="halflight-soak-") as name:
        data = Path(name) / "data"
        served = Served(data)
        try:
            run(served, data, asked, rows)
        except KeyboardInterrupt:
            print("stopped early")
        finally:
            served.stop()
    print(f"{os.cpu_count()} cores; load of the machine {np.median([row.machine_load for row in rows]):.0f}")
    print(f"{rows[-1].minute:.0f} minutes, {sum(row.requests for row in rows)} requests")
    judged = [row for row in rows if row.minute > asked.warm_up]
    if len(judged) < 2:
        print("stopped before there was anything to judge")
    else:
        print(f"without the first {asked.warm_up:g} minutes:")
        print(table(judged, slopes(judged)))
    draw_plot(rows, asked.output / "soak.png")


def run(served: Served, data: Path, asked: argparse.Namespace, rows: list[Row]) -> None:
    mix, draw = Mix(served), random.Random(asked.seed)  # noqa: S311
    mix.fill()
    before = served.resident_mib()[0]
    capacity(mix, draw, BURST_S, SENDERS)
    print(
        f"{SENDERS} callers at once: {before:.0f} MiB before, {served.resident_mib()[0]:.0f} after",
        flush=True,
    )
    most = capacity(mix, draw, asked.capacity_s, asked.callers)
    rate = most * asked.share
    print(f"capacity {most:.2f} requests a second; {asked.share:.0%} of it is {rate:.2f}", flush=True)
    mix.statuses.clear()
    columns = (TextColumn("soak"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    following = Following(mix, asked.share, asked.callers, asked.seed)
    with (
        following if asked.follow else Load(mix, rate, asked.seed) as load,
        Progress(*columns, console=console) as progress,
    ):
        total = 60 * (asked.warm_up + asked.minutes)
        task = progress.add_task("", total=total)
        began, known = time.monotonic(), 0
        while (now := time.monotonic() - began) < total:
            time.sleep(asked.every)
            refused = sum(count for (_, status), count in mix.statuses.items() if status >= 400)
            rows.append(look(served, data, load.taken(), (time.monotonic() - began) / 60, refused - known))
            known = refused
            write(rows, asked.output)
            said = f"p99 {rows[-1].p99_ms:.0f} ms, {rows[-1].service_mib:.0f} MiB"
            progress.update(task, completed=now, description=said)
            if not console.is_terminal:
                print(rows[-1], flush=True)
    print(dict(mix.statuses), flush=True)


if __name__ == "__main__":
    main()
