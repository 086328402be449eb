"""`halflight erase --verify`: what a subject left in the files of SQLite and of PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from sqlalchemy import text, update

from service.crops import encode_crops
from service.sealing.sources import KeyFile, MasterKeys
from service.store.clear_rows import seal_clear_rows
from service.store.database import Database
from service.store.tables import subject_keys
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
                *("k", f"enrol {name}"),
                request_digest="0",
                subject_id=name,
                status=201,
                body={"subject_id": name},
            )
            await uow.audit.add("key", "subject.enrol", name, {"samples": 1})
            await uow.commit()
    for old, new in ((SUBJECT, f"{SUBJECT}-2"), (f"{SUBJECT}-2", SUBJECT)):
        async with db.write() as uow:
            await uow.subjects.rename(old, new)
            await uow.commit()
    async with db.read() as uow:
        wanted = await traces(uow, SUBJECT)
        place = None
        if db.dialect == "postgresql":
            # What is in the server's memory alone would not be seen.
            await uow.connection.execute(text("ANALYZE"))
            await uow.connection.execute(text("CHECKPOINT"))
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
    uploads = tmp_path / "planted" / f"of {SUBJECT}"
    uploads.mkdir(parents=True)
    (uploads / "photo.jpg").write_bytes(b"")
    (found,) = search([tmp_path / "planted"], wanted)[0]
    assert (found.path, found.what) == (uploads, "subject id in its name")
    # Sealed, so that nothing is there before either: not in tables, indexes, journals, statistics, logs.
    assert search([data] if place is None else [data, place], wanted)[0] == []
    also = [] if place is None else ["--also", str(place)]
    done = halflight(
        *("erase", SUBJECT, "--verify", "--json", "--data", str(data), "--database-url", url, *also)
    )
    answer = json.loads(done.out)
    assert answer["erased"] == {"samples": 1, "templates": 1, "crops": 1}
    assert len(answer["shredded"]) == 1
    assert answer["files_searched"] > 1
    assert answer["found"] == []
    assert done.code == 0
    again = halflight("erase", SUBJECT, "--data", str(data), "--database-url", url)
    assert again.code == 1
    assert "no subject" in again.err


async def broken(url: str, data: Path) -> str:
    """A subject whose key does not open; returns its token."""
    db = await Database.open(url, MasterKeys(KeyFile(data / "master.key")))
    await db.migrate()
    async with db.write() as uow:
        await uow.subjects.ensure(SUBJECT, None)
        token = await uow.subject_keys.ids.token(SUBJECT)
        place = update(subject_keys).where(subject_keys.c.subject_id == token)
        await uow.connection.execute(place.values(wrapped=bytes(60)))
        await uow.commit()
    await db.close()
    return token


def test_a_subject_that_does_not_open_is_erased_by_its_token(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}"
    token = asyncio.run(broken(url, tmp_path))
    done = halflight("erase", token, "--verify", "--json", "--data", str(tmp_path))
    assert done.code == 0
    assert json.loads(done.out)["erased"] == {"samples": 0, "templates": 0, "crops": 0}
    again = halflight("erase", SUBJECT, "--data", str(tmp_path))
    assert again.code == 1
