"""Uploaded data sets over HTTP: taken, listed, named in a retraining, erased; and what is refused."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import StorageFull
from service.jobs.queue import JobQueue
from service.retraining.archive import ArchiveLimits
from service.retraining.datasets import UploadedSets
from service.retraining.request import RETRAIN
from service.store.database import Database
from tests.conftest import ANSWER_S, Service
from tests.service.api.test_errors import problem
from tests.service.jobs.conftest import MAX_ARCHIVE_BYTES
from tests.service.retraining.test_archive import tarred, zipped

ZIP = "application/zip"
FOLDERS = {f"set/{subject}/{light}/1.png": b"x" for subject in ("a", "b") for light in ("vis", "nir")}


def upload(client: httpx.Client, data: bytes | Iterator[bytes], kind: str = ZIP) -> httpx.Response:
    return client.post("/admin/datasets", content=data, headers={"content-type": kind})


def left(place: Service) -> list[str]:
    """What lies in the directory of uploaded sets."""
    return sorted(path.name for path in (place.data / "datasets").glob("*"))


def test_an_uploaded_archive_becomes_a_data_set_that_can_be_erased(
    place: Service, admin: httpx.Client
) -> None:
    data = zipped(FOLDERS | {"set/readme.txt": b"x"})
    made = upload(admin, data)
    assert made.status_code == 201, made.text
    facts: dict[str, Any] = made.json()
    assert (facts["files"], facts["bytes"], facts["ignored"]) == (4, 4, 1)
    assert left(place) == [facts["dataset_id"]]
    assert (place.data / "datasets" / facts["dataset_id"]).stat().st_mode & 0o077 == 0
    assert upload(admin, data).json() == facts
    other = upload(
        admin, tarred({"manifest.csv": b"path,subject,spectrum\n", "1.png": b"x"}), "application/x-tar"
    )
    assert other.status_code == 201, other.text
    listed = admin.get("/admin/datasets").json()
    assert [one["dataset_id"] for one in listed["datasets"]] == [
        facts["dataset_id"],
        other.json()["dataset_id"],
    ]
    # It is known to a retraining: this service only lacks what trains.
    problem(admin.post("/admin/retrain", json={"dataset": facts["dataset_id"]}), 409, "training_unavailable")
    for one in listed["datasets"]:
        assert admin.delete(f"/admin/datasets/{one['dataset_id']}").json() == one
        problem(admin.delete(f"/admin/datasets/{one['dataset_id']}"), 404, "dataset_not_found")
        problem(admin.post("/admin/retrain", json={"dataset": one["dataset_id"]}), 422, "invalid_parameter")
    assert left(place) == []


@pytest.mark.parametrize(
    "data",
    [
        zipped({"../../escape/vis/1.png": b"x"}),
        zipped({"pictures/1.png": b"x"}),
        zipped(FOLDERS)[:-30],
        tarred({"/etc/vis/1.png": b"x"}),
        b"no archive",
        b"",
    ],
    ids=["leads-out", "no-layout", "cut-off", "absolute", "no-archive", "empty"],
)
def test_a_refused_archive_leaves_nothing_behind(place: Service, admin: httpx.Client, data: bytes) -> None:
    problem(upload(admin, data), 422, "invalid_archive")
    assert left(place) == []


def test_an_archive_too_large_or_of_another_type_is_refused(place: Service, admin: httpx.Client) -> None:
    problem(upload(admin, bytes(MAX_ARCHIVE_BYTES + 1)), 413, "body_too_large")
    problem(upload(admin, (bytes(50_000) for _ in range(8))), 413, "body_too_large")
    problem(upload(admin, zipped(FOLDERS), "image/png"), 415, "unsupported_media_type")
    problem(admin.delete("/admin/datasets/..%2Fx"), 404, "not_found")
    problem(admin.delete("/admin/datasets/upload-x"), 404, "dataset_not_found")
    assert left(place) == []


async def test_a_set_in_use_by_a_job_cannot_be_erased(place: Service, admin: httpx.Client) -> None:
    made = upload(admin, zipped(FOLDERS)).json()["dataset_id"]
    db = await Database.open(f"sqlite+aiosqlite:///{place.data / 'halflight.db'}")
    async with httpx.AsyncClient(base_url=place.url, timeout=ANSWER_S) as web:
        queue = JobQueue(db)
        # Not of a kind that this service would begin with.
        job_id = await queue.submit(f"{RETRAIN}-elsewhere", {"dataset": made}, actor="test")
        problem(await web.delete(f"/admin/datasets/{made}"), 409, "job_running")
        await queue.cancel(job_id, actor="test")
        assert (await web.delete(f"/admin/datasets/{made}")).status_code == 200
    await db.close()


async def test_uploads_keep_the_disk_reserve_free_and_abandoned_ones_are_removed(tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield zipped(FOLDERS)

    db = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}")
    sets = UploadedSets(db, JobQueue(db), tmp_path / "sets", ArchiveLimits(reserve_bytes=1 << 62))
    with pytest.raises(StorageFull):
        await sets.add(chunks(), 0, actor="test")
    await db.close()
    killed, fresh, slow, unpacking = (tmp_path / "sets" / f".{name}" for name in "kfsu")
    for place in (killed, fresh, slow, unpacking):
        (place / "set" / "a").mkdir(parents=True)
        (place / "archive").write_bytes(b"begun")
        (place / "set" / "a" / "1.png").write_bytes(b"begun")
    for place in (killed, slow, unpacking):
        for part in (*place.rglob("*"), place):
            os.utime(part, (0, 0))
    # Writing to a file leaves the time of its directory as it was.
    with (slow / "archive").open("ab") as archive:
        archive.write(b"and going on")
    with (unpacking / "set" / "a" / "1.png").open("ab") as photo:
        photo.write(b"and going on")
    assert slow.stat().st_mtime == unpacking.stat().st_mtime == 0
    sets.remove_abandoned()
    assert sorted((tmp_path / "sets").iterdir()) == sorted([fresh, slow, unpacking])


async def test_an_upload_of_this_process_stays_however_long_nothing_comes(tmp_path: Path) -> None:
    coming, old = asyncio.Event(), asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        data = zipped(FOLDERS)
        yield data[:100]
        old.set()
        await coming.wait()
        yield data[100:]

    db = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}")
    await db.migrate()
    sets = UploadedSets(db, JobQueue(db), tmp_path / "sets", ArchiveLimits(reserve_bytes=0))
    task = asyncio.create_task(sets.add(chunks(), 0, actor="test"))
    await old.wait()
    (place,) = (tmp_path / "sets").iterdir()
    for part in (*place.rglob("*"), place):
        os.utime(part, (0, 0))
    sets.remove_abandoned()
    coming.set()
    made = await task
    assert made.files > 0
    await db.close()
