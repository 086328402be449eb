"""A service killed amid merges and erasures of many: each is done or not begun."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.sealing.sources import KeyFile, MasterKeys
from service.store.database import Database
from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.store.support import new_sample, samples_by_subject
from tests.service.test_durability import best

SUBJECTS, PAIRS = 24, 10


async def fill(data: Path) -> None:
    """Gives the template of `seed` to many subjects, straight in the database, digests apart."""
    keys = MasterKeys(KeyFile(data / "master.key"))
    db = await Database.open(f"sqlite+aiosqlite:///{data / 'halflight.db'}", keys)
    async with db.write() as uow:
        space = await uow.spaces.active()
        assert space is not None
        (vector,) = await uow.templates.vectors_of(space.space_id, "seed")
        for i in range(SUBJECTS):
            await uow.subjects.ensure(f"k{i:02}", None)
            sample_id = await uow.samples.add(new_sample(f"k{i:02}", f"{i:064}"))
            await uow.templates.add(space.space_id, sample_id, vector)
        await uow.commit()
    await db.close()


def held(data: Path) -> tuple[dict[str, int], set[int], set[int]]:
    """Samples by subject; templates; templates that the log implies."""
    subjects = samples_by_subject(f"sqlite+aiosqlite:///{data / 'halflight.db'}", data)
    with sqlite3.connect(data / "halflight.db") as db:
        templates = {row[0] for row in db.execute("SELECT template_id FROM templates")}
        implied: set[int] = set()
        for op, template_id in db.execute("SELECT op, template_id FROM gallery_log ORDER BY seq"):
            (implied.add if op == "add" else implied.discard)(template_id)
    db.close()
    return subjects, templates, implied


@pytest.mark.slow
def test_a_kill_amid_merges_and_erasures_leaves_each_done_or_not_begun(
    start_service: StartService, tmp_path: Path
) -> None:
    data = tmp_path / "killed"
    service = start_service(data=data)
    with service.client() as client:
        assert enroll(client, "seed", sample_bytes("s01")).status_code == 201
    service.stop()
    asyncio.run(fill(data))
    service = start_service(data=data)
    merged: list[int] = []
    erased: list[bool] = []

    def merge(i: int) -> None:
        with service.client() as client:
            answer = client.post(f"/v1/subjects/k{2 * i:02}/merge", json={"subject_id": f"k{2 * i + 1:02}"})
            if answer.status_code == 200:
                merged.append(i)

    def erase() -> None:
        with service.client() as client:
            body = {"subject_ids": [f"k{i:02}" for i in range(2 * PAIRS, SUBJECTS)]}
            erased.append(client.post("/v1/subjects/delete", json=body).status_code == 200)

    with ThreadPoolExecutor(PAIRS + 1) as pool:
        tasks = [pool.submit(merge, i) for i in range(PAIRS // 2)]
        tasks += [pool.submit(erase), *(pool.submit(merge, i) for i in range(PAIRS // 2, PAIRS))]
        end = time.monotonic() + 60
        while len(merged) < 2 and time.monotonic() < end:
            time.sleep(0.001)
        service.kill()
    for task in tasks:
        assert task.exception() is None or isinstance(task.exception(), httpx.TransportError)
    assert len(merged) >= 2
    subjects, templates, implied = held(data)
    for i in range(PAIRS):
        pair = subjects.get(f"k{2 * i:02}"), subjects.get(f"k{2 * i + 1:02}")
        assert pair in ((1, 1), (2, None)), i
        if i in merged:
            assert pair == (2, None), i
    many = [subjects.get(f"k{i:02}") for i in range(2 * PAIRS, SUBJECTS)]
    assert many in ([1] * 4, [None] * 4)
    if erased == [True]:
        assert many == [None] * 4
    assert templates == implied
    again = start_service(data=data)
    with again.client() as client:
        # What was answered and what was not may both be sent again.
        for i in range(PAIRS):
            answer = client.post(f"/v1/subjects/k{2 * i:02}/merge", json={"subject_id": f"k{2 * i + 1:02}"})
            assert answer.json()["samples"] == 2
        listed = client.get("/v1/subjects").json()["subjects"]
        assert all(one["samples"] == 2 for one in listed if one["subject_id"] < f"k{2 * PAIRS:02}")
        candidates = identify(client, sample_bytes("s01"), top_k="100").json()["results"][0]["candidates"]
        assert {one["subject_id"] for one in candidates} == {one["subject_id"] for one in listed}


@pytest.mark.slow
def test_replicas_answer_with_a_merge_and_a_rename_at_once(
    start_service: StartService, tmp_path: Path
) -> None:
    data = tmp_path / "both"
    one, two = start_service(data=data), start_service(data=data, HALFLIGHT_LOG_POLL_S="0.05")
    with one.client() as first, two.client() as second:
        assert enroll(first, "a", sample_bytes("s01")).status_code == 201
        assert enroll(first, "b", sample_bytes("s02")).status_code == 201
        for _ in range(200):
            if best(second, sample_bytes("s02")) == "b":
                break
        # No log and no poll: the gallery holds templates, the database says whose they are.
        assert first.patch("/v1/subjects/b", json={"subject_id": "c"}).status_code == 200
        assert best(second, sample_bytes("s02")) == "c"
        assert second.post("/v1/subjects/a/merge", json={"subject_id": "c"}).status_code == 200
        assert best(first, sample_bytes("s02")) == "a"
