"""What filling a space costs those who identify meanwhile: p99 of POST /identify, idle and during.

    python -m benchmarks.backfill [--samples 3000] [--requests 300] [--clients 1] [--interval-ms 100]

A service of its own, with `--samples` enrolled crops in a database that is written beforehand. In each
of `--rounds` the same requests are sent twice in turn, on the same machine: with nobody filling, and
while the second space is filled. Read the ratio; the milliseconds are the machine's. `--interval-ms 0`
sends without a pause: then the filling finds no gap, and is held to one crop a turn.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.threads import run_together
from faces import bundle
from faces.bundle import Manifest
from faces.image import DecodeLimits, decode
from faces.preprocess import encoder_input
from faces.types import Role, Spectrum
from service.crops import align_all, encode_crops
from service.inference.engine import Engine, EngineOptions
from service.sealing.sources import MasterKeys
from service.settings import Settings
from service.store.database import Database
from service.store.records import NewSample

SAMPLES = Path(__file__).resolve().parent.parent / "service" / "samples"
COLUMNS = (2, 110)
START_S = 120.0
ROWS_AT_ONCE = 500


def second_bundle(source: Path, target: Path, *, columns: tuple[int, int] = COLUMNS) -> Manifest:
    """Writes a bundle of the same networks on another cut of the crop: another space at the same cost."""
    shutil.copytree(source, target)
    facts = bundle.read(source).manifest.model_dump(mode="json")
    # Its parity vectors are of the old cut.
    facts["name"], facts["encoder"]["columns"], facts["parity"] = target.name, columns, None
    manifest = Manifest.model_validate(facts)
    bundle.write_manifest(manifest, target)
    return manifest


async def enrol(settings: Settings, count: int, people: int | None = None) -> None:
    """Writes `count` subjects with the committed faces' crops and templates to the database; `people`: those
    of so many of them, None for all."""
    first = bundle.read(settings.bundle_dir)
    spec = first.manifest.encoder
    options = EngineOptions(
        providers=settings.providers, allow_fallback=False, intra_op_threads=0, max_batch=8, max_queue=8
    )
    engine = Engine.load(first, options)
    limits = DecodeLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    faces = []
    folders = sorted(SAMPLES.glob("s[0-9][0-9]"))[:people]
    for path in (path for folder in folders for path in sorted(folder.glob("vis_*.jpg"))):
        image = decode(path.read_bytes(), limits=limits, spectrum=Spectrum.VIS)
        found = engine.detector.run([engine.detector.prepare(image)])[0].faces
        crops = align_all(image, found[0])
        own = next(crop for crop in crops if crop.alignment_id == spec.alignment)
        (vector,) = engine.encoder.run([(Role.REFERENCE, encoder_input(own, spec))])
        faces.append((crops, vector, image, found[0]))
    db = await Database.open(settings.sqlalchemy_url, MasterKeys(settings.key_source))
    await db.migrate()
    async with db.write() as uow:
        await uow.spaces.register(first.manifest.space_id, first.manifest.name, spec.dimension, "active")
        await uow.commit()
    for start in range(0, count, ROWS_AT_ONCE):
        async with db.write() as uow:
            for i in range(start, min(count, start + ROWS_AT_ONCE)):
                crops, vector, image, face = faces[i % len(faces)]
                await uow.subjects.ensure(f"subject-{i}", None)
                sample = NewSample(
                    subject_id=f"subject-{i}",
                    digest="0" * 64,
                    spectrum=Spectrum.VIS,
                    masked=False,
                    mask_probability=0.0,
                    quality_score=90,
                    inter_eye_px=face.inter_eye_px,
                    source_width=image.width,
                    source_height=image.height,
                )
                sample_id = await uow.samples.add(sample)
                await uow.crops.add(sample_id, encode_crops(crops))
                await uow.templates.add(first.manifest.space_id, sample_id, vector)
            await uow.commit()
    await db.close()


class Served:
    """A `halflight serve` process on a free port with the data and the bundle of these settings."""

    def __init__(self, settings: Settings) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "service.cli.main", "serve", "--port", str(port)]
        command += ["--data", str(settings.data_dir), "--log-level", "warning"]
        env = {**os.environ, "HALFLIGHT_BUNDLE_DIR": str(settings.bundle_dir)}
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=120)
        end = time.monotonic() + START_S
        while not self._ready():
            assert time.monotonic() < end, "the service did not start"
            time.sleep(0.2)

    def _ready(self) -> bool:
        try:
            return self.http.get("/health/ready").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def space(self, space_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/admin/spaces/{space_id}").raise_for_status().json()
        return found

    def post(self, path: str, **options: Any) -> None:
        self.http.post(path, **options).raise_for_status()

    def stop(self) -> None:
        self.http.close()
        self._process.terminate()
        self._process.wait()


def measure(url: str, requests: int, clients: int, interval_s: float) -> NDArray[np.float64]:
    """Sends the requests; returns the seconds of each, float64 [requests]."""
    photos = [path.read_bytes() for path in sorted(SAMPLES.glob("*/nir_masked_*.jpg"))]
    took: list[float] = []

    def ask(offset: int) -> None:
        with httpx.Client(base_url=url, timeout=120) as http:
            for i in range(offset, requests, clients):
                started = time.perf_counter()
                answer = http.post(
                    "/identify", content=photos[i % len(photos)], headers={"content-type": "image/jpeg"}
                )
                answer.raise_for_status()
                took.append(time.perf_counter() - started)
                time.sleep(max(0.0, interval_s - (time.perf_counter() - started)))

    run_together([partial(ask, i) for i in range(clients)])
    return np.array(took)


def latency_line(what: str, took: NDArray[np.float64]) -> str:
    p50, p95, p99 = (1000 * float(np.percentile(took, q)) for q in (50, 95, 99))
    return f"{what:8} p50 {p50:7.1f} ms   p95 {p95:7.1f} ms   p99 {p99:7.1f} ms   ({len(took)} requests)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--interval-ms", type=float, default=100.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="halflight-backfill-") as place:
        settings = Settings(data_dir=Path(place))
        second = second_bundle(settings.bundle_dir, settings.bundle_registry / "second")
        asyncio.run(enrol(settings, asked.samples))
        served = Served(settings)
        try:
            run(served, second.space_id, asked)
        finally:
            served.stop()


def run(served: Served, space_id: str, asked: argparse.Namespace) -> None:
    load = (asked.requests, asked.clients, asked.interval_ms / 1000)
    served.post("/admin/spaces", json={"bundle": "second"})
    measure(served.url, 30, asked.clients, 0.0)
    idle, during, made, seconds = [], [], 0, 0.0
    for _ in range(asked.rounds):
        idle.append(measure(served.url, *load))
        served.post(f"/admin/spaces/{space_id}/backfill")
        before, started = served.space(space_id), time.monotonic()
        during.append(measure(served.url, *load))
        after = served.space(space_id)
        made, seconds = made + after["templates"] - before["templates"], seconds + time.monotonic() - started
        if after["state"] != "backfilling":
            print("the space was full before the requests were over: ask for more --samples")
            break
        served.post(f"/admin/spaces/{space_id}/retire")
    print(latency_line("idle", np.concatenate(idle)))
    print(latency_line("during", np.concatenate(during)))
    ratio = np.percentile(np.concatenate(during), 99) / np.percentile(np.concatenate(idle), 99)
    print(f"p99 during / idle: {ratio:.2f}    filled meanwhile: {made / seconds:.1f} crops a second")
    served.post(f"/admin/spaces/{space_id}/backfill")
    before, started = served.space(space_id), time.monotonic()
    while (now := served.space(space_id))["state"] == "backfilling" and time.monotonic() - started < 20:
        time.sleep(0.5)
    alone = (now["templates"] - before["templates"]) / (time.monotonic() - started)
    print(
        f"with nobody asking: {alone:.1f} crops a second    (space {now['state']}, {now['missing']} missing)"
    )


if __name__ == "__main__":
    main()
