"""LFW's train split enrolled by one command, while the service and the command are killed.

    python -m benchmarks.enrol_lfw ../shared/data/lfw.tar --work /tmp/enrol-lfw --out enrol-lfw.json

Packs the train people (`training.data.lfw.split_of`) as a tar of their own, starts a service with the
built-in bundle, and runs `halflight enroll lfw-train.tar --report DIR`. At a third of the photos SIGKILL
ends the service, which is started again while the command waits for it; at two thirds SIGKILL ends the
command, and the same command goes on. At the end the report is compared with what the service lists. The
benchmark goes on from a `--work` directory in the same way; `--until` ends it after so many photos, and
then the journal takes the place of the report. `--kill-at` chooses other places for the kills.

Wall times are of the machine as it was: `load` says how busy. Peaks are the kernel's (`VmHWM`).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import Progress

from benchmarks.enrolment import write_json
from service.bulk.journal import JOURNAL
from service.bulk.report import LIST
from service.settings import builtin_bundle
from training.data.lfw import Split, read_lfw
from training.detector.report import markdown_table

HALFLIGHT = (sys.executable, "-m", "service.cli.main")
LOOK_S, START_S = 0.5, 900.0
PAGE = 500
SERVICE, COMMAND = "SIGKILL of the service", "SIGKILL of the command"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command. `known`: photos with an outcome when it began, and at its end. `events`: what
    happened, with the number of photos then. Peaks in MiB; `load` is the machine's over five minutes."""

    known: tuple[int, int]
    events: tuple[str, ...]
    wall_s: float
    peak_mib: float
    service_peak_mib: float
    load: float

    @property
    def row(self) -> tuple[str, ...]:
        return (
            *(f"{self.known[0]:,} to {self.known[1]:,}", "; ".join(self.events), f"{self.wall_s:,.0f}"),
            *(f"{self.peak_mib:.0f}", f"{self.service_peak_mib:.0f}", f"{self.load:.1f}"),
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """`done`: photos with an outcome; `codes`: of the refused ones; `stored`: samples that the service
    lists."""

    people: int
    photos: int
    done: int
    enrolled: int
    codes: dict[str, int]
    subjects: int
    stored: int
    runs: tuple[Run, ...]

    @property
    def whole(self) -> bool:
        """Whether each photo with an outcome is stored once or refused. Killed or ended in their midst,
        runs may have stored photos that the journal does not have yet."""
        told = self.enrolled + sum(self.codes.values()) == self.done
        return told and (self.stored == self.enrolled if self.done == self.photos else True)

    def tables(self) -> str:
        head = ("photos", "what happened", "seconds", "peak of the command, MiB", "of the service", "load")
        runs = markdown_table(head, [one.row for one in self.runs])
        refused = ", ".join(f"{count} `{code}`" for code, count in sorted(self.codes.items())) or "none"
        return (
            f"{runs}\n\n{self.photos:,} photos of {self.people:,} people; {self.done:,} with an outcome:"
            f" {self.enrolled:,} enrolled, refused: {refused}. The service lists {self.stored:,} samples of"
            f" {self.subjects:,} subjects.\n"
        )


def pack(lfw: Path, to: Path, *, people: int | None) -> tuple[int, int]:
    """Writes the train people as a tar; returns how many people and photos. Raises DataSetError, OSError."""
    chosen = read_lfw(lfw, frozenset({Split.TRAIN}))[:people]
    if not to.exists():
        part = to.with_suffix(".part")
        with tarfile.open(part, "w") as archive:
            for photo in (photo for one in chosen for photo in one.photos):
                entry = tarfile.TarInfo(photo.name)
                entry.size = len(photo.data)
                archive.addfile(entry, BytesIO(photo.data))
        part.replace(to)
    return len(chosen), sum(len(one.photos) for one in chosen)


class Campaign:
    """The service, the command, and what they did. `work`: its files are what a later one goes on from."""

    def __init__(self, work: Path) -> None:
        self._work, self._report, self._past = work, work / "report", work / "runs.json"
        port = work / "port"
        if not port.exists():
            port.write_text(str(_free_port()))
        self.url = f"http://127.0.0.1:{port.read_text()}"
        self.runs = [Run(**run) for run in json.loads(self._past.read_text())] if self._past.exists() else []
        self._service = self._start()

    def run(
        self, archive: Path, bar: Progress, kills: Sequence[tuple[int, str]], *, until: int | None
    ) -> bool:
        """Runs the command once, with the kills that are due; returns whether nothing is left to do."""
        left = [kill for kill in kills if not any(kill[1] in e for run in self.runs for e in run.events)]
        began, known, events, peaks = time.monotonic(), len(self._outcomes()), list[str](), [0.0, 0.0]
        with (self._work / "command.log").open("ab") as log:
            asked = [str(archive), "--report", str(self._report), "--url", self.url]
            command = subprocess.Popen([*HALFLIGHT, "enroll", *asked], stdout=log, stderr=log)
        done = known
        while command.poll() is None:
            peaks = [max(peaks[0], _peak_mib(command.pid)), max(peaks[1], _peak_mib(self._service.pid))]
            done = max(done, len(self._outcomes()))
            bar.update(bar.task_ids[0], completed=done)
            if until is not None and done >= until:
                events.append(f"stopped at {done:,}")
                command.send_signal(signal.SIGINT)
                command.wait()
            elif left and done >= left[0][0]:
                _, victim = left.pop(0)
                events.append(f"{victim} at {done:,}")
                if victim == COMMAND:
                    command.kill()
                    command.wait()
                else:
                    self._service.kill()
                    self._service.wait()
                    self._service = self._start()
            time.sleep(LOOK_S)
        finished = (self._report / LIST).exists() and not (self._report / JOURNAL).exists()
        if finished or not any(event.startswith((COMMAND, "stopped")) for event in events):
            events.append(
                "went to its end" if finished else f"ended by itself, exit code {command.returncode}"
            )
        load, wall_s = os.getloadavg()[1], time.monotonic() - began
        after = len(self._outcomes())
        self.runs.append(Run((known, after), tuple(events), wall_s, peaks[0], peaks[1], load))
        self._past.write_text(json.dumps([asdict(run) for run in self.runs], indent=1))
        return finished or (until is not None and done >= until)

    def measured(self, people: int, photos: int) -> Measured:
        """Compares the outcomes with what the service lists. Raises httpx.HTTPError, OSError."""
        outcomes = self._outcomes()
        samples, cursor = list[int](), None
        while True:
            asked: dict[str, str | int] = {"limit": PAGE}
            if cursor is not None:
                asked["cursor"] = cursor
            page = httpx.get(f"{self.url}/subjects", params=asked, timeout=300).raise_for_status().json()
            samples += [int(one["samples"]) for one in page["subjects"]]
            if (cursor := page["next_cursor"]) is None:
                break
        return Measured(
            people=people,
            photos=photos,
            done=len(outcomes),
            enrolled=sum(not code for code in outcomes.values()),
            codes=dict(Counter(code for code in outcomes.values() if code)),
            subjects=len(samples),
            stored=sum(samples),
            runs=tuple(self.runs),
        )

    def close(self) -> None:
        if self._service.poll() is None:
            self._service.send_signal(signal.SIGTERM)
            self._service.wait()

    def _outcomes(self) -> dict[tuple[str, str], str]:
        """The code of the refusal of each photo, empty if it is enrolled, by file and subject."""
        if not (self._report / JOURNAL).exists() and (self._report / LIST).exists():
            with (self._report / LIST).open(newline="") as file:
                return {(row["file"], row["subject"]): row["code"] for row in csv.DictReader(file)}
        # A run may be about to make its journal, or to remove it.
        with suppress(sqlite3.Error):
            place = f"file:{self._report / JOURNAL}?mode=ro"
            with closing(sqlite3.connect(place, uri=True)) as journal:
                rows = journal.execute("SELECT name, subject, code FROM outcomes").fetchall()
                return {(name, subject): code or "" for name, subject, code in rows}
        return {}

    def _start(self) -> subprocess.Popen[bytes]:
        """Raises RuntimeError if the service does not become ready."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        command = [*HALFLIGHT, "serve", "--host", host, "--port", port, "--data", str(self._work / "data")]
        with (self._work / "service.log").open("ab") as log:
            bundle = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle())}
            started = subprocess.Popen(command, env=os.environ | bundle, stdout=log, stderr=log)
        end = time.monotonic() + START_S
        while time.monotonic() < end and started.poll() is None:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health/ready", timeout=10).is_success:
                    return started
            time.sleep(LOOK_S)
        raise RuntimeError(f"the service did not become ready: {self._work / 'service.log'} says why")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _peak_mib(pid: int) -> float:
    """The most resident memory that a process had; 0 if it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    """Measures, and prints the tables. Exit code 1 if a photo was lost or is stored twice."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("lfw", type=Path, help="LFW's archive, lfw/<name>/<photo>")
    parser.add_argument("--work", type=Path, required=True, help="directory of this benchmark alone")
    parser.add_argument("--people", type=int, help="only so many train people, to try it")
    parser.add_argument("--until", type=int, help="end after so many photos")
    parser.add_argument("--kill-at", type=int, nargs=2, help="photos at which the two kills come")
    parser.add_argument("--out", type=Path, help="JSON file with the figures")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    archive = given.work / "lfw-train.tar"
    people, photos = pack(given.lfw, archive, people=given.people)
    last = photos if given.until is None else min(photos, given.until)
    campaign = Campaign(given.work)
    try:
        with Progress(console=Console(stderr=True)) as bar:
            bar.add_task("enrolling", total=photos)
            first, second = given.kill_at or (last // 3, 2 * last // 3)
            kills = ((first, SERVICE), (second, COMMAND))
            while not campaign.run(archive, bar, kills, until=given.until):
                print(campaign.runs[-1], file=sys.stderr, flush=True)
        measured = campaign.measured(people, photos)
    finally:
        campaign.close()
    print(measured.tables())
    write_json(given.out, "python -m benchmarks.enrol_lfw lfw.tar", measured)
    if not measured.whole:
        sys.exit("photos were lost, or stored twice")


if __name__ == "__main__":
    main()
