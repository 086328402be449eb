"""Makes what requests can name: subjects, samples, spaces, jobs, data sets and keys of a real service."""

from __future__ import annotations

import asyncio
import io
import json
import time
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.backfill import SAMPLES, enrol, second_bundle
from service.access import keys as access
from service.settings import Settings
from service.store.database import Database

SUBJECTS, KEYS, DATASETS, JOBS = 240, 90, 12, 20
# Those of the photos that fuzzing sends; the others are unknown.
KNOWN = 6
# Each cut of the crop makes a space of its own.
COLUMNS = ((2, 110), (4, 108), (6, 106), (8, 104), (10, 102), (12, 100))
WAIT_S = 300.0


@dataclass(slots=True)
class Seeds:
    """Ids that exist, by the names that the OpenAPI document gives them.

    `ended_jobs`: whose events come to an end. `bundles`: names that can be registered. `held`: subjects with
    a legal hold. `bulk_jobs` and `measured_jobs`: whose reports are there. `tables`: thresholds that can be
    installed. `gallery`: an archive that a service without subjects can import, where one was exported, and
    what opens it.
    """

    subject_ids: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    samples: list[tuple[str, str]] = field(default_factory=list)
    space_ids: list[str] = field(default_factory=list)
    job_ids: list[str] = field(default_factory=list)
    ended_jobs: list[str] = field(default_factory=list)
    dataset_ids: list[str] = field(default_factory=list)
    key_ids: list[str] = field(default_factory=list)
    bundles: list[str] = field(default_factory=list)
    bulk_jobs: list[str] = field(default_factory=list)
    measured_jobs: list[str] = field(default_factory=list)
    event_ids: list[str] = field(default_factory=list)
    unknown_ids: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    doors: list[str] = field(default_factory=list)
    gallery: str | None = None
    passphrase: str = ""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Seeds:
        return cls(**json.loads(path.read_text()))


def archive(number: int) -> bytes:
    """A data set of two people as a zip; each number makes another."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        for who in ("s01", "s02"):
            target.writestr(f"{who}/vis/1.jpg", (SAMPLES / who / "vis_1.jpg").read_bytes())
            target.writestr(f"{who}/nir/1.jpg", (SAMPLES / who / "nir_masked_1.jpg").read_bytes())
        # Another archive, another data set: the same one sent again is the same.
        target.comment = str(number).encode()
    return packed.getvalue()


async def write_rows(settings: Settings, seeds: Seeds, subjects: int) -> str:
    """Writes subjects and keys to an empty database; returns an admin's key."""
    await enrol(settings, subjects, KNOWN)
    seeds.subject_ids = [f"subject-{number}" for number in range(subjects)]
    db = await Database.open(settings.sqlalchemy_url)
    try:
        admin = await access.create(db, access.NewKey(role=access.Role.ADMIN, label="fuzzing"))
        for number in range(KEYS):
            role = list(access.Role)[number % 3]
            made = await access.create(db, access.NewKey(role=role, label=f"seed {number}"))
            seeds.key_ids.append(made.key_id)
    finally:
        await db.close()
    return admin.token


def prepare(settings: Settings, seeds: Seeds, subjects: int = SUBJECTS) -> str:
    """Fills a new data directory before the service starts; returns an admin's key."""
    settings.data_dir.mkdir(mode=0o700)
    key = asyncio.run(write_rows(settings, seeds, subjects))
    for number, columns in enumerate(COLUMNS):
        second_bundle(settings.bundle_dir, settings.bundle_registry / f"cut-{number}", columns=columns)
    # The first two are registered; the others wait for who asks.
    seeds.bundles = [f"cut-{number}" for number in range(2, len(COLUMNS))]
    return key


def fill(http: httpx.Client, seeds: Seeds) -> None:
    """Makes over HTTP what a service that runs jobs can make; the space is ready afterwards."""
    for subject_id in seeds.subject_ids[::4]:
        found = ask(http, "GET", f"/subjects/{subject_id}")
        seeds.samples += [(subject_id, sample["sample_id"]) for sample in found["samples"]]
    seeds.space_ids = [space["space_id"] for space in ask(http, "GET", "/admin/spaces")["spaces"]]
    for name in ("cut-0", "cut-1"):
        seeds.space_ids.append(ask(http, "POST", "/admin/spaces", json={"bundle": name})["space_id"])
    begun = ask(http, "POST", f"/admin/spaces/{seeds.space_ids[-1]}/backfill")
    seeds.ended_jobs.append(begun["job_id"])
    end = time.monotonic() + WAIT_S
    while ask(http, "GET", f"/admin/spaces/{seeds.space_ids[-1]}")["state"] != "ready":
        if time.monotonic() > end:
            raise SystemExit("the second space did not become ready")
        time.sleep(0.5)
    headers = {"content-type": "application/zip"}
    for number in range(DATASETS):
        made = ask(http, "POST", "/admin/datasets", content=archive(number), headers=headers)
        seeds.dataset_ids.append(made["dataset_id"])


def queue(http: httpx.Client, seeds: Seeds) -> None:
    """Queues jobs at a service that runs none, and cancels each: one of a kind may wait at a time."""
    for number in range(JOBS):
        dataset = seeds.dataset_ids[number % len(seeds.dataset_ids)]
        job = ask(http, "POST", "/admin/evaluate", json={"dataset": dataset})["job_id"]
        ask(http, "POST", f"/admin/jobs/{job}/cancel")
        seeds.ended_jobs.append(job)
    seeds.job_ids += seeds.ended_jobs


def ask(http: httpx.Client, method: str, path: str, **options: Any) -> dict[str, Any]:
    """The answer as JSON. Raises SystemExit, with the answer, for a refusal."""
    answer = http.request(method, path, **options)
    if answer.is_error:
        raise SystemExit(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}")
    found: dict[str, Any] = answer.json()
    return found
