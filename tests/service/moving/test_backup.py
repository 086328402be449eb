"""Backups: whole, of one moment, refused when changed, and within reach of an erasure."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from service.audit.verification import verify_log
from service.crops import encode_crops
from service.enrolment.enroller import erase_subject
from service.moving.archive import ArchiveReader, Kind
from service.moving.backup import CARRIED, LEFT_OUT
from service.moving.book import KeyBook
from service.moving.locks import Passphrase
from service.sealing.sources import KeyFile, MasterKeys
from service.store.columns import metadata
from service.store.database import Database
from service.store.term_records import Consent, Hold, SubjectTerms
from service.subjects.residue import traces
from tests.service.cli.command import HALFLIGHT, environment, fails, succeeds
from tests.service.store.postgres import fresh_database
from tests.service.store.support import SPACE, new_sample, vector
from tests.service.test_crops import crop

D, PASSPHRASE = 16, "correct horse battery"
ENV = {"HALFLIGHT_BACKUP_PASSPHRASE": PASSPHRASE}
TERMS = SubjectTerms(
    hold=Hold(datetime(2026, 11, 1, tzinfo=UTC), "key", "SECRET-CASE"),
    consent=Consent(date(2026, 3, 1), "SECRET-FORM"),
    expires_at=datetime(2027, 11, 1, tzinfo=UTC),
    last_matched_at=datetime(2026, 11, 2, tzinfo=UTC),
)
NAMES = tuple(f"subject-number-{i}" for i in range(5))


async def opened(url: str, data: Path) -> Database:
    db = await Database.open(url, MasterKeys(KeyFile(data / "master.key")))
    await db.migrate()
    return db


async def fill(url: str, data: Path) -> None:
    db = await opened(url, data)
    async with db.write() as uow:
        await uow.spaces.register(SPACE, "bundle", D, "active")
        for i, name in enumerate(NAMES):
            await uow.subjects.ensure(name, {"note": f"SECRET-NOTE-{i}"}, f"Señora {i}")
            for j in range(2):
                sample_id = await uow.samples.add(new_sample(name, f"{i}{j}" * 32))
                await uow.crops.add(sample_id, encode_crops([crop()]))
                await uow.templates.add(SPACE, sample_id, vector(10 * i + j, D))
            await uow.audit.add("key", "subject.enrol", name, {"samples": 2})
        await uow.terms.put(NAMES[1], TERMS)
        for fmr in (None, 1e-3):
            made = await uow.thresholds.add(SPACE, {"made": "up"}, default_fmr=fmr, note="n", actor="key")
        await uow.thresholds.activate(SPACE, made.version - 1)
        await uow.commit()
    await db.close()


async def state_of(url: str, data: Path) -> dict[str, Any]:
    """Everything that callers may see of the database, with the crops and the templates."""
    db = await opened(url, data)
    found: dict[str, Any] = {}
    async with db.read() as uow:
        for record in await uow.subjects.page(None, 10_000):
            samples = await uow.samples.of_subject(record.subject_id)
            kept = await uow.crops.of_samples([s.sample_id for s in samples], crop().alignment_id)
            owned = await uow.templates.of_subject(SPACE, record.subject_id)
            found[record.subject_id] = {
                # Each database has places of its own.
                "record": asdict(record) | {"place": None},
                "samples": [asdict(s) for s in samples],
                "crops": {k: v.png for k, v in kept.items()},
                "templates": {one.owner.sample_id: one.vector.tobytes() for one in owned},
                "terms": await uow.terms.get(record.subject_id),
                "name": await uow.audit.find_name(record.subject_id),
            }
        found["entries"] = [one.digest for one in await uow.audit.after(0, 100)]
        active = await uow.spaces.active()
        assert active is not None
        found["active"] = active.space_id
        found["thresholds"] = ([asdict(v) for v in await uow.thresholds.all()], await uow.thresholds.active())
        assert not len(db.refused)
    await verify_log(db)
    await db.close()
    return found


@pytest.fixture
def source(database_url: str, tmp_path: Path) -> tuple[str, Path]:
    data = tmp_path / "data"
    data.mkdir()
    url = database_url.replace(str(tmp_path), str(data))
    asyncio.run(fill(url, data))
    (tmp_path / "keys").mkdir()
    return url, data


def arguments(url: str, data: Path) -> list[str]:
    return ["--data", str(data), "--database-url", url]


def sqlite(data: Path) -> str:
    return f"sqlite+aiosqlite:///{data / 'halflight.db'}"


def test_a_restore_gives_back_everything_on_another_database(
    source: tuple[str, Path], tmp_path: Path
) -> None:
    url, data = source
    before = asyncio.run(state_of(url, data))
    file, book = tmp_path / "one.backup", tmp_path / "keys" / "book"
    done = succeeds("backup", file, "--keys", book, "--verify", "--json", *arguments(url, data), env=ENV)
    told = json.loads(done.out)
    assert (told["subjects"], told["samples"], told["templates"], told["crops"]) == (5, 10, 10, 10)
    for path in (file, book):
        assert path.stat().st_mode & 0o077 == 0
    new = tmp_path / "new"
    succeeds("restore", file, "--keys", book, *arguments(sqlite(new), new), env=ENV)
    after = asyncio.run(state_of(sqlite(new), new))
    assert after["entries"][: len(before["entries"])] == before["entries"]
    assert {k: v for k, v in after.items() if k != "entries"} == {
        k: v for k, v in before.items() if k != "entries"
    }
    # Over data nothing is restored, and the backup of the restored database still takes the same book.
    fails(
        1, "restore", file, "--keys", book, *arguments(sqlite(new), new), env=ENV, expected=["holds subjects"]
    )
    again = tmp_path / "again.backup"
    succeeds("backup", again, "--keys", book, *arguments(sqlite(new), new), env=ENV)
    succeeds("restore", file, "--verify", "--keys", book, env=ENV)


def test_a_restore_into_postgresql_gives_back_everything(tmp_path: Path, postgres: str) -> None:
    data, new = tmp_path / "data", tmp_path / "new"
    data.mkdir()
    asyncio.run(fill(sqlite(data), data))
    before = asyncio.run(state_of(sqlite(data), data))
    file = tmp_path / "one.backup"
    succeeds("backup", file, "--self-contained", "--data", data, env=ENV)
    with fresh_database(postgres) as url:
        succeeds("restore", file, *arguments(url, new), env=ENV)
        after = asyncio.run(state_of(url, new))
        fails(1, "restore", file, *arguments(url, new), env=ENV, expected=["holds subjects"])
        # What is written after it goes on where the rows of the backup end.
        asyncio.run(go_on(url, new))
    assert after["entries"][: len(before["entries"])] == before["entries"]
    assert {k: v for k, v in after.items() if k != "entries"} == {
        k: v for k, v in before.items() if k != "entries"
    }


async def go_on(url: str, data: Path) -> None:
    """Enrols somebody, erases somebody, and sees that the audit log still is one chain."""
    db = await opened(url, data)
    async with db.write() as uow:
        await uow.subjects.ensure("afterwards", None)
        sample_id = await uow.samples.add(new_sample("afterwards"))
        await uow.templates.add(SPACE, sample_id, vector(99, D))
        await uow.audit.add("key", "subject.enrol", "afterwards", {"samples": 1})
        await uow.commit()
    await erase_subject(db, NAMES[0], "test")
    await verify_log(db)
    async with db.read() as uow:
        assert await uow.subjects.count() == len(NAMES)
    await db.close()


def test_after_an_erasure_todays_keys_do_not_open_the_subject_in_an_older_backup(
    source: tuple[str, Path], tmp_path: Path
) -> None:
    url, data = source
    file, book = tmp_path / "one.backup", tmp_path / "keys" / "book"
    succeeds("backup", file, "--keys", book, *arguments(url, data), env=ENV)
    gone = NAMES[2]

    async def wanted() -> Any:
        db = await opened(url, data)
        async with db.read() as uow:
            found = await traces(uow, gone)
        await db.close()
        return found

    shown = asyncio.run(wanted())

    def visible() -> set[str]:
        """The kinds of values of the subject that the backup shows to whoever has every key of today."""
        reader = ArchiveReader(file, [Passphrase(PASSPHRASE)])
        keys = KeyBook(book).read([Passphrase(PASSPHRASE)])
        plain = b""
        for kind, payload in reader.records():
            plain += payload
            if kind is Kind.SUBJECT:
                plain += reader.open_subject(payload, keys) or b""
        return {trace.what for trace in shown if any(piece in plain for piece in trace.pieces)}

    # Templates and crops are in base64 there, so ids, names and keys stand for the whole record.
    assert {"subject id", "metadata", "subject key"} <= visible()
    succeeds("erase", gone, *arguments(url, data), env=ENV | {"HALFLIGHT_BACKUP_KEYS": str(book)})
    assert visible() == set()
    new = tmp_path / "new"
    done = succeeds("restore", file, "--keys", book, "--json", *arguments(sqlite(new), new), env=ENV)
    assert json.loads(done.out)["unreadable"] == 1
    kept = {name for name in asyncio.run(state_of(sqlite(new), new)) if name.startswith("subject-")}
    assert kept == set(NAMES) - {gone}


def test_an_erasure_without_the_book_is_made_good_by_the_next_backup(
    source: tuple[str, Path], tmp_path: Path
) -> None:
    url, data = source
    book = tmp_path / "keys" / "book"
    succeeds("backup", tmp_path / "one", "--keys", book, *arguments(url, data), env=ENV)

    async def erase() -> None:
        db = await opened(url, data)
        await erase_subject(db, NAMES[0], "test")
        await db.close()

    asyncio.run(erase())
    assert len(KeyBook(book).read([Passphrase(PASSPHRASE)])) == 5
    succeeds("backup", tmp_path / "two", "--keys", book, *arguments(url, data), env=ENV)
    assert len(KeyBook(book).read([Passphrase(PASSPHRASE)])) == 4


@pytest.mark.slow
def test_a_backup_shows_one_moment_while_others_write(source: tuple[str, Path], tmp_path: Path) -> None:
    """Each transaction enrols two subjects: a backup holds both or neither."""
    url, data = source
    file, new = tmp_path / "one.backup", tmp_path / "new"
    command = [*HALFLIGHT, "backup", str(file), "--self-contained", *arguments(url, data)]

    async def write() -> int:
        db, number = await opened(url, data), 0
        process = await asyncio.create_subprocess_exec(
            *command, env=environment(ENV), stdin=subprocess.DEVNULL
        )
        while process.returncode is None:
            async with db.write() as uow:
                for name in (f"a-{number}", f"z-{number}"):
                    await uow.subjects.ensure(name, None)
                    sample_id = await uow.samples.add(new_sample(name))
                    await uow.templates.add(SPACE, sample_id, vector(number, D))
                await uow.commit()
            number += 1
        assert process.returncode == 0
        await db.close()
        return number

    assert asyncio.run(write()) > 1
    succeeds("restore", file, *arguments(sqlite(new), new), env=ENV)
    found = set(asyncio.run(state_of(sqlite(new), new)))
    first = {name.removeprefix("a-") for name in found if name.startswith("a-")}
    assert first
    assert first == {name.removeprefix("z-") for name in found if name.startswith("z-")}


@pytest.mark.slow
def test_a_changed_or_shortened_file_is_refused_by_name_before_anything_is_written(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    asyncio.run(fill(sqlite(data), data))
    file = tmp_path / "one.backup"
    succeeds("backup", file, "--self-contained", "--data", data, env=ENV)
    whole, bad = file.read_bytes(), tmp_path / "bad.backup"
    middle = len(whole) // 2
    changes = {
        "cut": whole[:-7],
        "half": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "longer": whole + b"more",
        "nothing": b"",
    }
    new = tmp_path / "new"
    for content in changes.values():
        bad.write_bytes(content)
        fails(1, "restore", bad, "--data", new, env=ENV, expected=["bad.backup", "nothing was written"])
        assert not new.exists()
    wrong = {"HALFLIGHT_BACKUP_PASSPHRASE": "another passphrase"}
    fails(2, "restore", file, "--data", new, env=wrong, expected=["the passphrase does not open it"])
    assert not new.exists()
    succeeds("restore", file, "--data", new, env=ENV)


def test_a_recipient_opens_and_nothing_lies_beside_the_backup(tmp_path: Path) -> None:
    data, keys = tmp_path / "data", tmp_path / "keys"
    for place in (data, keys):
        place.mkdir()
    asyncio.run(fill(sqlite(data), data))
    recipient = succeeds("backup-key", keys / "secret").out.strip()
    file, book = tmp_path / "one.backup", keys / "book"
    fails(2, "backup", file, "--data", data, "--recipient", recipient, expected=["--self-contained"])
    beside: list[str | Path] = [
        "backup",
        file,
        "--data",
        data,
        "--recipient",
        recipient,
        "--keys",
        tmp_path / "book",
    ]
    fails(2, *beside, expected=["beside the backup"])
    succeeds("backup", file, "--data", data, "--recipient", recipient, "--keys", book)
    opening = ("--keys", book, "--verify", "--identity")
    succeeds("restore", file, *opening, keys / "secret")
    other = succeeds("backup-key", keys / "other")
    assert other.out.strip() != recipient
    fails(2, "restore", file, *opening, keys / "other", expected=[recipient])


def writes(file: Path) -> bool:
    """Whether somebody writes to a database whose schema is there: after it comes what is restored."""
    if not file.exists():
        return False
    connection = sqlite3.connect(file, timeout=0, isolation_level=None)
    try:
        begun = False
        connection.execute("SELECT count(*) FROM subjects")
        begun = True
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        return begun and "locked" in str(error)
    finally:
        connection.close()
    return False


@pytest.mark.slow
def test_a_killed_restore_leaves_nothing_half(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()

    async def many() -> None:
        await fill(sqlite(data), data)
        db = await opened(sqlite(data), data)
        async with db.write() as uow:
            for i in range(1500):
                await uow.subjects.ensure(f"more-{i}", None)
                sample_id = await uow.samples.add(new_sample(f"more-{i}"))
                await uow.templates.add(SPACE, sample_id, vector(i, D))
            await uow.commit()
        await db.close()

    asyncio.run(many())
    file, new = tmp_path / "one.backup", tmp_path / "new"
    succeeds("backup", file, "--self-contained", "--data", data, env=ENV)
    command = [*HALFLIGHT, "restore", str(file), "--data", str(new)]
    process = subprocess.Popen(command, env=environment(ENV), stdin=subprocess.DEVNULL)
    while process.poll() is None and not writes(new / "halflight.db"):
        time.sleep(0.005)
    # Well into the one transaction, which takes seconds.
    time.sleep(0.5)
    assert process.poll() is None, "it was killed too late to show anything"
    process.kill()
    process.wait()

    async def count() -> int:
        db = await opened(sqlite(new), new)
        async with db.read() as uow:
            found = await uow.subjects.count() + len(await uow.spaces.all())
        await db.close()
        return found

    assert asyncio.run(count()) == 0
    succeeds("restore", file, "--data", new, env=ENV)
    assert asyncio.run(count()) == 1500 + len(NAMES) + 1


@pytest.mark.slow
def test_a_file_that_cannot_be_written_whole_is_not_left_behind(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    asyncio.run(fill(sqlite(data), data))
    # The system refuses to make any file longer, as a full disk does.
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
        "from service.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "backup", str(tmp_path / "one.backup"), "--self-contained"]
    done = subprocess.run(
        [*command, "--data", str(data)],
        env=environment(ENV),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_every_table_is_in_a_backup_or_is_left_out_on_purpose() -> None:
    assert {table.name for table in metadata.sorted_tables} == {*CARRIED, *LEFT_OUT}
