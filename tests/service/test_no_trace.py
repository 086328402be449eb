"""A service on SQLite and on PostgreSQL writes no id of a subject, whatever is asked about it over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from service.settings import builtin_bundle
from service.store.database import Database
from service.subjects.residue import Trace, search
from tests.conftest import Service, sample_bytes

SUBJECT = "no-trace-of-me"


async def place_of(url: str) -> Path | None:
    """The directory of the whole PostgreSQL server, after a checkpoint; None for SQLite."""
    db = await Database.open(url)
    try:
        if db.dialect == "sqlite":
            return None
        async with db.read() as uow:
            await uow.connection.execute(text("ANALYZE"))
            await uow.connection.execute(text("CHECKPOINT"))
            return Path((await uow.connection.execute(text("SHOW data_directory"))).scalar_one())
    finally:
        await db.close()


@pytest.mark.slow
def test_no_file_shows_who_was_enrolled_asked_for_renamed_merged_and_erased(
    database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = tmp_path / "data"
    sqlite = database_url.startswith("sqlite")
    env = {"HALFLIGHT_BUNDLE_DIR": str(builtin_bundle()), "HALFLIGHT_LOG_LEVEL": "DEBUG"}
    running = Service(data, env if sqlite else env | {"HALFLIGHT_DATABASE_URL": database_url}).start()
    request.addfinalizer(running.stop)
    assert running.log is not None
    wanted = [Trace("subject id", (SUBJECT.encode(),))]

    def shown() -> list[str]:
        server = None if sqlite else asyncio.run(place_of(database_url))
        places = [data] if server is None else [data, server, server.parent]
        found = [one.path.name for one in search(places, wanted)[0]]
        assert running.log is not None
        return found + ["the log of the service"] * (SUBJECT.encode() in running.log.read_bytes())

    photo, probe = sample_bytes("s06"), sample_bytes("s06", "vis_2.jpg")
    with running.client() as client:
        for name in (SUBJECT, f"{SUBJECT}-2"):
            ids = {"subject_id": name, "allow_duplicate": "true"}
            headers = {"Idempotency-Key": f"enrol {name}"}
            for _ in range(2):
                answer = client.post("/v1/enroll", data=ids, files={"images": photo}, headers=headers)
                assert answer.status_code == 201, answer.text
        found = client.post("/v1/identify", files={"image": probe}).json()["results"][0]["candidates"]
        assert found[0]["subject_id"].startswith(SUBJECT)
        one = client.post("/v1/verify", files={"image": probe}, data={"subject_id": SUBJECT})
        assert one.json()["decision"] == "match"
        for path in ("", f"/{SUBJECT}", f"/{SUBJECT}-3", f"?id_prefix={SUBJECT}", f"/{SUBJECT}/{SUBJECT}"):
            assert client.get(f"/v1/subjects{path}").status_code in (200, 404)
        assert client.patch(f"/v1/subjects/{SUBJECT}-2", json={"metadata": {"a": 1}}).status_code == 200
        new = {"subject_id": f"{SUBJECT}-4"}
        assert client.patch(f"/v1/subjects/{SUBJECT}-2", json=new).status_code == 200
        assert client.post(f"/v1/subjects/{SUBJECT}/merge", json=new).status_code == 200
        assert client.post(f"/v1/subjects/{SUBJECT}/merge", json=new).status_code == 200
        assert client.get("/v1/admin/audit", params={"subject_id": SUBJECT}).json()["entries"]
        assert shown() == []
        assert client.delete(f"/v1/subjects/{SUBJECT}").status_code == 200
        assert client.delete(f"/v1/subjects/{SUBJECT}").status_code == 404
        assert shown() == []
    running.stop()
    assert shown() == []
    assert b"/subjects/{subject_id}" in running.log.read_bytes()
