"""`halflight erase --verify`: what a subject left in the files of SQLite and of PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from sqlalchemy import text

from service.crops import encode_crops
from service.sealing.sources import KeyFile, MasterKeys
from service.store.clear_rows import seal_clear_rows
from service.store.database import Database
from service.subjects.residue import Trace, search, traces
from tests.service.cli.command import halflight
from tests.service.store.support import SPACE, new_sample, vector
from tests.service.test_crops import crop

D = 128
SUBJECT = "ERASE-ME-PLEASE"


async def filled(url: str, data: Path) -> tuple[tuple[Trace, ...], Path | None]:
    """Enrols the subject amid others; returns what it may leave, and PostgreSQL's directory."""
    db = await Database.open(url, MasterKeys(KeyFile(data / "master.key")))
    await db.migrate()
    await seal_clear_rows(db, lambda *_: None)
    async with db.write() as uow:
        await uow.spaces.register(SPACE, "bundle", D, "active")
        await uow.commit()
    for i, name in enumerate(("before", SUBJECT, "after")):
        async with db.write() as uow:
            await uow.subjects.ensure(name, {"note": f"SECRET-NOTE-{i}"}, f"Señora {i} García")
            sample_id = await uow.samples.add(new_sample(name))
            await uow.crops.add(sample_id, encode_crops([crop()]))
            await uow.templates.add(SPACE, sample_id, vector(i, D))
            await uow.idempotency.put(
                "k", str(i), request_digest="0", subject_id=name, status=201, body={"subject_id": name}
            )
            await uow.audit.add("key", "subject.enrol", name, {"samples": 1})
            await uow.commit()
    async with db.read() as uow:
        wanted = await traces(uow, SUBJECT)
        place = None
        if db.dialect == "postgresql":
            place = Path((await uow.connection.execute(text("SHOW data_directory"))).scalar_one())
    await db.close()
    return wanted, place


def test_erasing_leaves_no_bytes_that_show_the_subject(database_url: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    url = database_url.replace(str(tmp_path), str(data))
    wanted, place = asyncio.run(filled(url, data))
    kinds = {trace.what for trace in wanted}
    assert kinds == {"subject id", "display name", "metadata", "template", "crop", "subject key"}
    # The search itself sees what is there: planted, each is found.
    for number, trace in enumerate(wanted):
        planted = tmp_path / f"planted-{number}"
        planted.mkdir()
        (planted / "file").write_bytes(os.urandom(5000) + trace.pieces[-1] + os.urandom(5000))
        assert [found.what for found in search([planted], wanted)[0]] == [trace.what]
    # Sealed, so that only the id is there before.
    before, _ = search([data] if place is None else [data, place], wanted)
    assert {found.what for found in before} == {"subject id"}
    also = [] if place is None else ["--also", str(place)]
    done = halflight(
        *("erase", SUBJECT, "--verify", "--json", "--data", str(data), "--database-url", url, *also)
    )
    answer = json.loads(done.out)
    assert answer["erased"] == {"samples": 1, "templates": 1, "crops": 1}
    assert len(answer["shredded"]) == 1
    assert answer["files_searched"] > 1
    if place is None:
        assert answer["found"] == []
        assert done.code == 0
    else:
        # PostgreSQL's dead rows hold the id in clear until VACUUM; nothing else of the subject.
        assert {found["what"] for found in answer["found"]} <= {"subject id"}
    again = halflight("erase", SUBJECT, "--data", str(data), "--database-url", url)
    assert again.code == 1
    assert "no subject" in again.err
