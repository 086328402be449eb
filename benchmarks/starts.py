"""Time from the start of the service to ready: without templates, from the database, and from a snapshot.

    python -m benchmarks.starts --dir DIR [--templates 100000] [--rounds 3]

Fills an SQLite database below `--dir` (about 5 KB for each template, files of rows and snapshot included), or
takes the one that is there. Then it starts the service again and again: in every round once on an empty
directory, and once on the filled one; the first start there has no snapshot, unless an earlier run left one
(remove `full/gallery` to begin without), and the next ones have what it left. Beside it, one thread reads the
bytes of the snapshot that a start reads. Templates are random directions, 100 of a subject, and `gallery` is
what the service itself says of filling its gallery.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
from sqlalchemy import insert

from faces.bundle import read
from service.access.private import make_private
from service.bundles.registry import bundle_store
from service.sealing.sources import MasterKeys
from service.settings import Settings, builtin_bundle
from service.spaces.adoption import adopt
from service.store.database import Database
from service.store.gallery_log import to_bytes
from service.store.opening import TEMPLATE
from service.store.tables import samples, templates

AT_ONCE, SAMPLES = 5000, 100
# Smaller galleries have no snapshot, which a benchmark of few templates would wait for.
SNAPSHOT_TEMPLATES = 100
WAIT_S, POLL_S, SNAPSHOT_S = 1800.0, 0.05, 2.0


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds to ready; those of a processor; the gallery's part by the log; MB at ready, and the peak."""

    way: str
    seconds: float
    cpu_s: float
    gallery_s: float
    resident_mb: float
    peak_mb: float


async def fill(settings: Settings, count: int) -> None:
    """Enrols templates straight in the database, which says how many it has got."""
    make_private(settings.data_dir)
    db = await Database.open(settings.sqlalchemy_url, MasterKeys(settings.key_source))
    await db.migrate()
    bundle, rng = read(builtin_bundle()), np.random.default_rng(0)
    await adopt(db, bundle_store(settings), bundle)
    space_id, width = bundle.manifest.space_id, bundle.manifest.encoder.dimension
    async with db.read() as uow:
        done = await uow.templates.count(space_id)
    for first in range(done, count, AT_ONCE):
        rows = rng.standard_normal((min(AT_ONCE, count - first), width), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        await _add(db, space_id, first, rows)
        print(f"\r{first + len(rows)} templates stored", end="", file=sys.stderr)
    await db.close()


async def _add(
    db: Database, space_id: str, first: int, rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> None:
    new_samples, new_templates = [], []
    async with db.write() as uow:
        for i, row in enumerate(rows, first):
            subject = f"s{i // SAMPLES}"
            if i % SAMPLES == 0:
                await uow.subjects.ensure(subject, None)
                token, key = (
                    await uow.subject_keys.ids.token(subject),
                    await uow.subject_keys.of_subject(subject),
                )
            sample_id, template_id = f"benchmark-{i}", i + 1
            new_samples.append(
                {
                    "sample_id": sample_id,
                    "subject_id": token,
                    "digest": f"{i:064x}",
                    "spectrum": "vis",
                    "masked": False,
                    "mask_probability": 0.0,
                    "quality_score": 90,
                    "inter_eye_px": 60.0,
                    "source_width": 640,
                    "source_height": 480,
                    "created_at": datetime.now(UTC),
                }
            )
            sealed = key.seal(to_bytes(row), TEMPLATE, sample_id, space_id, str(template_id))
            new_templates.append(
                {"template_id": template_id, "sample_id": sample_id, "space_id": space_id, "vector": sealed}
            )
        await uow.connection.execute(insert(samples), new_samples)
        await uow.connection.execute(insert(templates), new_templates)
        await uow.log.append(space_id, "add", list(range(first + 1, first + 1 + len(rows))))
        await uow.commit()


@contextmanager
def started(data: Path, way: str) -> Iterator[Start]:
    """A service on a directory of data, from its start to ready. It runs until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "HALFLIGHT_SNAPSHOT_S": str(SNAPSHOT_S),
        "HALFLIGHT_SNAPSHOT_TEMPLATES": str(SNAPSHOT_TEMPLATES),
        "HALFLIGHT_LOG_LEVEL": "info",
    }
    log = data.with_suffix(".log")
    command = [sys.executable, "-m", "service.cli.main", "serve", "--port", str(port), "--data", str(data)]
    with log.open("w") as stream:
        begun = time.perf_counter()
        child = subprocess.Popen(command, env=env, stderr=stream, stdout=stream)
    try:
        _wait_ready(child, port)
        seconds = time.perf_counter() - begun
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{child.pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        memory = [float(status[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM")]
        yield Start(way, seconds, _cpu_s(child.pid), _gallery_s(log), *memory)
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


def _cpu_s(pid: int) -> float:
    """Seconds of a processor that a process has used, without its children (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wait_ready(child: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and child.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(POLL_S)
    raise RuntimeError(f"the service did not become ready: {child.poll()}")


def _gallery_s(log: Path) -> float:
    for line in log.read_text().splitlines():
        if "gallery filled" in line or "gallery loaded from its snapshot" in line:
            return (
                float(line.split("seconds=")[1].split()[0])
                if "seconds=" in line
                else float(json.loads(line)["seconds"])
            )
    return 0.0


def snapshot_files(data: Path) -> list[Path]:
    return [path for path in data.glob("gallery/*/*") if path.name == "head" or path.suffix == ".segment"]


def plain_read_s(paths: list[Path]) -> float:
    begun = time.perf_counter()
    for path in paths:
        path.read_bytes()
    return time.perf_counter() - begun


def wait_snapshot(data: Path) -> float:
    """Seconds until there is a snapshot."""
    begun = time.perf_counter()
    while not list(data.glob("gallery/*/head")):
        time.sleep(POLL_S)
    return time.perf_counter() - begun


@dataclass(frozen=True, slots=True)
class Played:
    """A start, the load average before its round, and a plain read of the snapshot of that round."""

    start: Start
    load: float
    plain_read_s: float
    snapshot_mb: float


def play(directory: Path, templates: int, rounds: int) -> Iterator[Played]:
    """Fills `directory`, or takes what is there; starts without templates and with them in every round.

    The first start with templates has no snapshot, unless an earlier run left one.
    """
    data, empty = directory / "full", directory / "empty"
    data.mkdir(parents=True, exist_ok=True)
    asyncio.run(fill(Settings(data_dir=data), templates))
    there = bool(list(data.glob("gallery/*/head")))
    for _ in range(rounds if there else rounds + 1):
        load = os.getloadavg()[0]
        with started(empty, "no templates") as without:
            pass
        with started(data, "snapshot" if there else "database") as start:
            if not there:
                print(f"snapshot written {wait_snapshot(data):.1f} s after ready", file=sys.stderr)
        there = True
        paths = snapshot_files(data)
        size, plain_s = sum(path.stat().st_size for path in paths) / 1e6, plain_read_s(paths)
        yield Played(without, load, plain_s, size)
        yield Played(start, load, plain_s, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--templates", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a file for the figures (.json)")
    args = parser.parse_args()
    kept: list[dict[str, object]] = []
    for one in play(args.dir, args.templates, args.rounds):
        print(
            f"{one.start.way}: ready after {one.start.seconds:.2f} s"
            f" ({one.start.cpu_s:.2f} s of a processor), gallery {one.start.gallery_s:.2f} s,"
            f" {one.start.resident_mb:.0f} MB,"
            f" at most {one.start.peak_mb:.0f} MB; load {one.load:.1f};"
            f" one thread reads the {one.snapshot_mb:.0f} MB of the snapshot in {one.plain_read_s:.2f} s"
        )
        facts = {"load": one.load, "plain_read_s": one.plain_read_s, "snapshot_mb": one.snapshot_mb}
        kept.append(asdict(one.start) | facts)
    if args.out is not None:
        args.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
