"""Photos a second of a bulk enrolment beside the bare pipeline on the same photos, and its memory.

    python -m benchmarks.bulk [--rounds 4] [--there 100000]

In each round the rendered samples, re-encoded so that no photo was seen before, pass through the pipeline
alone (decode, detect in every turn, align, embed), and are then enrolled as the job enrols them: with the
database, duplicates, crops, journal and report. Read the ratio: both run in this process, in turn, with as
many photos at once. Then `--there` photos that are there already walk through the same job: what its memory
does with their number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.decoding import memory_mib
from faces import bundle
from faces.types import Role, Spectrum
from service.api.schemas.event_bodies import event_body
from service.api.schemas.subjects import enrol_answer
from service.bulk.folders import FolderSource
from service.bulk.job import PhotoEnroller
from service.bulk.journal import Journal
from service.bulk.report import write_report
from service.bulk.request import BulkRequest
from service.bulk.run import enrol_all
from service.enrolment.types import Duplicates
from service.inference.engine import EngineOptions
from service.matching.choice import subject_face
from service.settings import Settings, builtin_bundle
from service.state import State, open_state
from service.telemetry import Metrics

SAMPLES = Path(__file__).resolve().parent.parent / "service" / "samples"
ASKED = BulkRequest(
    upload="",
    actor="benchmark",
    spectrum=Spectrum.VIS,
    duplicates=Duplicates.REPORT,
    allow_mismatch=True,
    turn=None,
    consent_date=None,
    expires_at=None,
)


def new_photos(root: Path, seed: int) -> list[bytes]:
    """Writes the samples with noise of this seed as `root/<subject>/<file>`; returns their bytes."""
    random, made = np.random.default_rng(seed), []
    for path in sorted(SAMPLES.glob("*/vis_*.jpg")):
        pixels = cv2.imread(str(path))
        assert pixels is not None
        noisy = np.clip(pixels + random.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)
        data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        place = root / path.parent.name / f"{seed}-{path.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        made.append(data)
    return made


async def bare(state: State, photos: list[bytes], at_once: int) -> float:
    """Photos a second through the pipeline alone."""
    places, space = asyncio.Semaphore(at_once), state.space()

    async def describe(data: bytes) -> None:
        async with places:
            await state.pipeline.describe(
                space,
                data,
                spectrum=Spectrum.VIS,
                choose=subject_face,
                role=Role.REFERENCE,
                every_turn=True,
            )

    started = time.perf_counter()
    await asyncio.gather(*(describe(data) for data in photos))
    return len(photos) / (time.perf_counter() - started)


async def bulk(state: State, root: Path, work: Path, at_once: int) -> tuple[float, float, dict[str, int]]:
    """Photos a second of a whole run with its report, its highest resident MiB, and its outcomes."""
    source, done, most = FolderSource(root), 0, 0.0
    started = time.perf_counter()
    source.count()
    with Journal(work, {"root": str(root)}) as journal:
        one = PhotoEnroller(state.db, state.registry, state.enroller, ASKED, lambda: False, journal)
        async with aclosing(
            enrol_all(source, one.enrol, journal, at_once=at_once, in_order=True)
        ) as outcomes:
            async for _ in outcomes:
                done += 1
                if done % 500 == 0:
                    most = max(most, memory_mib(os.getpid())[0])
        made_at = datetime.now(UTC).isoformat()
        await asyncio.to_thread(write_report, work, journal, title="Benchmark", made_at=made_at)
        most = max(most, memory_mib(os.getpid())[0])
        tally = journal.tally()
    counts = {"enrolled": tally.enrolled, "existing": tally.existing, "refused": tally.refused}
    return done / (time.perf_counter() - started), most, counts


async def measure(place: Path, rounds: int, there: int, at_once: int | None) -> dict[str, Any]:
    # A machine at work must not refuse the photos of a benchmark.
    settings = Settings(
        data_dir=place / "data", bundle_dir=builtin_bundle(), decode_wait_s=300, decode_wall_s=300
    )
    state = await open_state(settings, Metrics(), enrol_answer, event_body)
    state.audit.start()
    await state.registry.open(
        bundle.read(settings.bundle_dir), EngineOptions.of(settings), observe=lambda _: lambda _items: None
    )
    at_once = at_once or 2 * settings.max_batch
    found: dict[str, Any] = {"at_once": at_once, "rounds": [], "there": []}
    await bare(state, new_photos(place / "warm", 10_000), at_once)
    for number in range(rounds):
        root = place / f"round{number}"
        photos = new_photos(root, number)
        alone = await bare(state, photos, at_once)
        rate, mib, counts = await bulk(state, root, place / f"work{number}", at_once)
        one = {"photos": len(photos), "bare_per_s": alone, "bulk_per_s": rate, "ratio": rate / alone}
        found["rounds"].append(one | {"resident_mib": mib} | counts)
        print(json.dumps(found["rounds"][-1]), flush=True)
    found["median_ratio"] = float(np.median([one["ratio"] for one in found["rounds"]]))
    first = sorted((place / "round0").glob("*/*"))
    for number in (there // 100, there // 10, there):
        if not number:
            continue
        root = place / f"there{number}"
        for i in range(number):
            photo = first[i % len(first)]
            target = root / photo.parent.name / f"{i:06}-{photo.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(photo, target)
        rate, mib, counts = await bulk(state, root, place / f"work-there{number}", at_once)
        found["there"].append({"photos": number, "per_s": rate, "resident_mib": mib} | counts)
        print(json.dumps(found["there"][-1]), flush=True)
    await state.audit.close()
    await state.registry.close()
    await state.pipeline.close()
    await state.db.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--there", type=int, default=100_000, help="photos that are enrolled already")
    parser.add_argument("--at-once", type=int, help="photos in work; by default as the job")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="halflight-benchmark-") as place:
        found = asyncio.run(measure(Path(place), asked.rounds, asked.there, asked.at_once))
    print(f"median ratio {found['median_ratio']:.2f} of the bare pipeline, {found['at_once']} photos at once")


if __name__ == "__main__":
    main()
