"""Rendered people with masks walk through a near-infrared clip, and `halflight watch` reports them.

    python -m benchmarks.watch_people PEOPLE --facekit DIR
    halflight evaluate PEOPLE/site --to REPORT --bundle models/halflight-2
    python -m benchmarks.watch --people PEOPLE/clip --enrol camera --thresholds REPORT/thresholds.json \\
        --fmr .001 --agree 4

All but the last ones are enrolled: with their visible-light photos, with the third masked near-infrared view,
which the camera took, or with both. The strangers walk among them. Thresholds come from other people.
Prints who was reported how, and the processor time of the watcher beside that of a bare PyAV decode of the
same clip, in the same run: both are whole processes, and what their start takes stands beside them. The
people are rendered; nobody exists.
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
from collections.abc import Sequence
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
VISIBLE, TAKEN = "vis_*.jpg", "nir_masked_3.jpg"
ENROL = {"photos": (VISIBLE,), "camera": (TAKEN,), "both": (VISIBLE, TAKEN)}


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


def enrol(client: httpx.Client, folder: Path, patterns: Sequence[str]) -> None:
    """Enrols one person with the pictures that match; those of the camera as near-infrared ones."""
    for pattern in patterns:
        photos = sorted(folder.glob(pattern))
        files = [("images", (one.name, one.read_bytes(), "image/jpeg")) for one in photos]
        spectrum = "nir" if pattern == TAKEN else "vis"
        asked = {"subject_id": folder.name, "allow_duplicate": "true", "spectrum": spectrum}
        client.post("/enroll", data=asked, files=files).raise_for_status()


def walker(folder: Path, number: int) -> Walker:
    return Walker(folder.name, tuple(sorted(folder.glob("nir_masked_[12].jpg"))), number % 2 == 0)


def install(client: httpx.Client, path: Path) -> None:
    """Puts a site's thresholds in force."""
    made = client.post("/admin/thresholds", json={"thresholds": json.loads(path.read_text())})
    made.raise_for_status()


def walked(order: list[str], seconds: float, found: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Each report with who walked when it was seen."""
    step_s = (int(seconds * FPS) + int(PAUSE_S * FPS)) / FPS
    pairs = []
    for one in found:
        passed = (datetime.fromisoformat(one["seen_at"]) - BEGAN).total_seconds() - LEAD_S
        pairs.append((order[min(len(order) - 1, max(0, int(passed / step_s)))], one))
    return pairs


def told(known: set[str], pairs: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """What the reports say about the people of the clip, each by what was said while they walked."""
    right = [(name, one["repeat"]) for name, one in pairs if one["subject_id"] == name]
    news = Counter(name for name, repeat in right if not repeat)
    again = {name for name, repeat in right if repeat} - news.keys()
    wrong = {(name, one["subject_id"]) for name, one in pairs if one["subject_id"] not in (None, name)}
    lines = [
        f"of {len(known)} enrolled people reported rightly: {len(news)}, only as a repetition: {len(again)},"
        f" more than once: {sum(count > 1 for count in news.values())},"
        f" under another name: {sum(name in known for name, _ in wrong)}",
        f"strangers that passed: {len({name for name, _ in wrong if name not in known})}",
    ]
    for name, one in pairs:
        if one["subject_id"] != name:
            repeat = ", as a repetition" if one["repeat"] else ""
            lines.append(f"{name} walked: {one['decision']} {one['subject_id'] or ''}{repeat}")
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--count", type=int, default=26, help="people of the folder, strangers too")
    parser.add_argument("--strangers", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0, help="for which each of them is in the picture")
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--enrol", choices=ENROL, default="photos")
    parser.add_argument("--thresholds", type=Path, help="thresholds.json of other people, to install")
    parser.add_argument("--fmr", type=float, help="by default the service's")
    parser.add_argument("--agree", type=int, help="by default the service's")
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
                    enrol(client, folder, ENROL[given.enrol])
                if given.thresholds is not None:
                    install(client, given.thresholds)
            source = {
                "name": "gate", "kind": "file", "path": str(clip), "spectrum": "nir", "fps": given.fps,
                "began_at": BEGAN.isoformat(),
            }  # fmt: skip
            source |= {name: v for name in ("fmr", "agree") if (v := getattr(given, name)) is not None}
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
    pairs = walked([one.name for one in order], given.seconds, found)
    print("\n".join(told({one.name for one in known}, pairs)))
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
