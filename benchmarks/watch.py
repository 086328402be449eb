"""Rendered people with masks walk through a near-infrared clip, and `halflight watch` reports them.

    python -m training.synthesis.rendered --out PEOPLE --facekit DIR --subjects 26 --seed 12
    python -m benchmarks.watch --people PEOPLE [--strangers 6] [--seconds 3] [--fps 5]

All but the last ones are enrolled, with their visible-light photos; the strangers walk among them. Prints
who was reported how, and the processor time of the watcher beside that of a bare PyAV decode of the same
clip, in the same run: both are whole processes, and what their start takes stands beside them. The people are
rendered; nobody exists.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import httpx

from service.settings import builtin_bundle
from tests.conftest import Service
from tests.service.watch.clip import FPS, LEAD_S, PAUSE_S, Walker, write_clip

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
DECODE = """
import sys
import av
with av.open(sys.argv[1]) as container:
    stream = container.streams.video[0]
    stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
    print(sum(1 for _ in container.decode(stream)))
"""
IMPORT = "import av"


@dataclass(frozen=True, slots=True)
class Ran:
    """A finished process. `cpu_s`: user and system time of it and of its children."""

    out: str
    cpu_s: float


def run(*command: str, cwd: Path) -> Ran:
    """Runs a process to its end. Raises CalledProcessError."""
    before = os.times()
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Ran(done.stdout, used)


def enrol(client: httpx.Client, folder: Path) -> None:
    """Enrols one person with their visible-light photos."""
    files = [
        ("images", (one.name, one.read_bytes(), "image/jpeg")) for one in sorted(folder.glob("vis_*.jpg"))
    ]
    asked = {"subject_id": folder.name, "allow_duplicate": "true"}
    client.post("/enroll", data=asked, files=files).raise_for_status()


def walker(folder: Path, number: int) -> Walker:
    return Walker(folder.name, tuple(sorted(folder.glob("nir_masked_*.jpg"))), number % 2 == 0)


def walked(order: list[str], seconds: float, found: list[dict[str, Any]]) -> list[str]:
    """Who walked when a report was seen, for every report that names another, or nobody who is known."""
    lines, step_s = [], (int(seconds * FPS) + int(PAUSE_S * FPS)) / FPS
    for one in found:
        passed = (datetime.fromisoformat(one["seen_at"]) - BEGAN).total_seconds() - LEAD_S
        number = min(len(order) - 1, max(0, int(passed / step_s)))
        again = ", as a repetition" if one["repeat"] else ""
        if one["subject_id"] != order[number]:
            lines.append(f"{order[number]} walked: {one['decision']} {one['subject_id'] or ''}{again}")
    return lines


def told(strangers: set[str], known: set[str], found: list[dict[str, Any]]) -> list[str]:
    """What the reports say about the people of the clip."""
    named = Counter(one["subject_id"] for one in found if one["subject_id"] is not None and not one["repeat"])
    unknown = sum(one["decision"] == "unknown" for one in found)
    undecided = sum(one["decision"] == "undecided" for one in found)
    return [
        f"known people: {len(known)}, reported: {len(known & named.keys())},"
        f" more than once: {sum(count > 1 for count in named.values())}",
        f"strangers: {len(strangers)}, reported as unknown or not named: {unknown} unknown,"
        f" {undecided} undecided tracks",
        f"named who did not walk there: {sorted(set(named) - known)}",
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--count", type=int, default=26, help="people of the folder, strangers too")
    parser.add_argument("--strangers", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0, help="for which each of them is in the picture")
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--bundle", type=Path, default=builtin_bundle())
    given = parser.parse_args(arguments)
    folders = sorted(one for one in given.people.iterdir() if one.is_dir())[: given.count]
    known, strangers = folders[: -given.strangers], folders[-given.strangers :]
    # Strangers among the others: one after every few.
    order = list(known)
    for i, one in enumerate(strangers):
        order.insert((i + 1) * len(known) // (len(strangers) + 1) + i, one)
    with tempfile.TemporaryDirectory() as made:
        room = Path(made)
        clip = write_clip(
            room / "clip.mp4", [walker(one, i) for i, one in enumerate(order)], seconds=given.seconds
        )
        with av.open(str(clip)) as container:
            lasts_s = float(container.duration or 0) / av.time_base
        service = Service(room / "data", {"HALFLIGHT_BUNDLE_DIR": str(given.bundle)}).start()
        try:
            with service.client() as client:
                for folder in known:
                    enrol(client, folder)
            source = {
                "name": "gate", "kind": "file", "path": str(clip), "spectrum": "nir", "fps": given.fps,
                "began_at": BEGAN.isoformat(),
            }  # fmt: skip
            # A time stands in TOML without quotation marks.
            plain = {name: value for name, value in source.items() if name != "began_at"}
            lines = [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
            lines.append(f"began_at = {source['began_at']}")
            sources = room / "sources.toml"
            sources.write_text("\n".join(['spool = "spool"', 'status = "status.json"', "[[source]]", *lines]))
            command = (sys.executable, "-m", "service.cli.main", "watch", str(sources), "--url", service.url)
            cwd = Path.cwd()
            bare, begun = (
                run(sys.executable, "-c", DECODE, str(clip), cwd=cwd),
                run(sys.executable, "-c", IMPORT, cwd=cwd),
            )
            checked, watched = run(*command, "--check", cwd=cwd), run(*command, "--json", cwd=cwd)
        finally:
            service.stop()
        status = json.loads((room / "status.json").read_text())["sources"][0]
    found = [json.loads(line) for line in watched.out.splitlines()]
    machine = f"{platform.machine()}, {os.cpu_count()} processors, PyAV {av.__version__}"
    print(f"{machine}, {lasts_s:.0f} s of 960 x 540")
    print("\n".join(told({one.name for one in strangers}, {one.name for one in known}, found)))
    print("\n".join(walked([one.name for one in order], given.seconds, found)))
    print(f"looked at {status['looked_at']} of {status['frames']} sampled frames, {status['tracks']} tracks")
    for name, one, start in (("bare decode", bare, begun), ("halflight watch", watched, checked)):
        share = (one.cpu_s - start.cpu_s) / lasts_s
        print(
            f"{name}: {one.cpu_s:.2f} s of processor time, of it {start.cpu_s:.2f} s to start;"
            f" {100 * share:.1f} % of a processor for one stream"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
