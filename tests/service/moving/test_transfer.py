"""A gallery that is sent and taken: between both databases, whole or not at all, one moment of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from service import outflow
from service.audit.verification import verify_log
from service.enrolment.enroller import erase_subject
from service.errors import GalleryNotEmpty, SpaceNotReady
from service.moving.backup import Damaged
from service.moving.book import KeyBook
from service.moving.locks import Identity, LockError, Passphrase
from service.moving.stream import ArchiveBroken
from service.moving.transfer import Imported, export_gallery, import_gallery
from service.outflow import ClientStalled, Waiting, sent
from service.sealing.sources import KeyFile, MasterKeys
from service.store.database import Database
from service.store.tables import templates
from tests.service.moving.test_backup import NAMES, TERMS, D, fill, opened
from tests.service.store.postgres import fresh_database
from tests.service.store.support import OTHER, SPACE, vector
from tests.service.test_crops import crop

WHO = Passphrase("correct horse battery")


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite", "sqlite to sqlite"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Database, Database]]:
    """A database with a gallery, and an empty one under another master key, with the same active space."""
    kinds = request.param.split(" to ")
    async with two(kinds, tmp_path, request) as urls:
        places = [tmp_path / "one", tmp_path / "two"]
        for place in places:
            place.mkdir()
        await fill(urls[0], places[0])
        source, target = await opened(urls[0], places[0]), await opened(urls[1], places[1])
        async with target.write() as uow:
            await uow.spaces.register(SPACE, "bundle", D, "active")
            await uow.commit()
        yield source, target
        await source.close()
        await target.close()


@asynccontextmanager
async def two(kinds: list[str], tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[list[str]]:
    urls = [f"sqlite+aiosqlite:///{tmp_path / name / 'halflight.db'}" for name in ("one", "two")]
    if "postgresql" not in kinds:
        yield urls
        return
    with fresh_database(request.getfixturevalue("postgres")) as url:
        urls[kinds.index("postgresql")] = url
        yield urls


async def archive(db: Database, to: Path, book: KeyBook | None = None, who: Any = WHO) -> Path:
    content = [part async for part in await export_gallery(db, who, book, "admin")]
    return written(to, b"".join(content))


def written(to: Path, content: bytes) -> Path:
    to.write_bytes(content)
    return to


def content_of(path: Path) -> bytes:
    return path.read_bytes()


async def taken(db: Database, path: Path, *secrets: Any, book: KeyBook | None = None) -> Imported:
    return await import_gallery(db, path, secrets or (WHO,), book, "admin")


async def shown(db: Database) -> dict[str, Any]:
    """Everything that callers may see of the subjects, with crops, templates and names in the log."""
    found: dict[str, Any] = {}
    async with db.read() as uow:
        for record in await uow.subjects.page(None, 10_000):
            samples = await uow.samples.of_subject(record.subject_id)
            kept = await uow.crops.of_samples([s.sample_id for s in samples], crop().alignment_id)
            owned = await uow.templates.of_subject(SPACE, record.subject_id)
            found[record.subject_id] = {
                # Each database has places of its own.
                "record": asdict(record) | {"place": None},
                "terms": await uow.terms.get(record.subject_id),
                "samples": [asdict(s) for s in samples],
                "crops": {k: v.png for k, v in kept.items()},
                "templates": {one.owner.sample_id: one.vector.tobytes() for one in owned},
                "name": await uow.audit.find_name(record.subject_id),
                "key": (await uow.subject_keys.of_subject(record.subject_id)).key_id,
            }
    assert not len(db.refused)
    await verify_log(db)
    return found


async def test_a_gallery_goes_from_one_database_into_another(
    pair: tuple[Database, Database], tmp_path: Path
) -> None:
    source, target = pair
    before = await shown(source)
    assert before[NAMES[1]]["terms"] == TERMS
    path = await archive(source, tmp_path / "gallery")
    assert b"subject-number" not in content_of(path)
    made = await taken(target, path)
    counts = made.contents
    assert (counts.subjects, counts.samples, counts.templates, counts.crops) == (5, 10, 10, 10)
    assert await shown(target) == before
    async with target.read() as uow:
        (entry,) = await uow.audit.after(0, 10)
        assert [one.op for one in await uow.log.tail(SPACE, 0, 100)] == ["add"] * 10
        active = await uow.spaces.active()
        assert active is not None
        assert active.space_id == SPACE
    assert (entry.audit_id, entry.action, entry.actor) == (made.audit_id, "gallery.import", "admin")
    async with source.read() as uow:
        sent_entry = (await uow.audit.page(None, 1))[0]
    assert (sent_entry.action, sent_entry.detail["archive_id"]) == (
        "gallery.export",
        entry.detail["archive_id"],
    )
    # Over subjects nothing is taken.
    with pytest.raises(GalleryNotEmpty):
        await taken(target, path)
    assert await shown(target) == before


async def test_what_was_changed_or_is_locked_for_others_writes_nothing(
    pair: tuple[Database, Database], tmp_path: Path
) -> None:
    source, target = pair
    path = await archive(source, tmp_path / "gallery")
    whole = content_of(path)
    middle = len(whole) // 2
    for content in (
        whole[:-7],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        whole + b"more",
        b"",
    ):
        written(path, content)
        with pytest.raises(ArchiveBroken):
            await taken(target, path)
    written(path, whole)
    with pytest.raises(LockError, match="does not open it"):
        await taken(target, path, Passphrase("another passphrase"))
    async with target.write() as uow:
        await uow.spaces.register(OTHER, "bundle", D, "registered")
        assert await uow.spaces.transition(SPACE, ("active",), "ready")
        await uow.spaces.set_state(OTHER, "active")
        await uow.commit()
    with pytest.raises(SpaceNotReady, match=OTHER):
        await taken(target, path)
    assert await shown(target) == {}
    async with target.read() as uow:
        assert await uow.audit.after(0, 10) == []


async def test_an_erasure_reaches_an_archive_whose_keys_lie_in_the_book(
    pair: tuple[Database, Database], tmp_path: Path
) -> None:
    source, target = pair
    identity, book = Identity(bytes(range(32))), KeyBook(tmp_path / "book")
    path = await archive(source, tmp_path / "gallery", book, identity.recipient)
    receipt = await erase_subject(source, NAMES[0], "admin")
    assert receipt.erased.key_id is not None
    assert book.forget([receipt.erased.key_id]) == 1
    with pytest.raises(ArchiveBroken, match="key book"):
        await taken(target, path, identity)
    made = await taken(target, path, identity, book=book)
    assert (made.contents.subjects, made.contents.unreadable) == (4, 1)
    assert set(await shown(target)) == set(NAMES[1:])


async def test_rows_that_do_not_open_end_an_export_before_its_end(
    pair: tuple[Database, Database], tmp_path: Path
) -> None:
    source, target = pair
    async with source.write() as uow:
        await uow.connection.execute(templates.update().values(vector=b"x" * 60))
        await uow.commit()
    got = b""
    with pytest.raises(Damaged):
        async for part in await export_gallery(source, WHO, None, "admin"):
            got += part
    cut = written(tmp_path / "cut", got)
    with pytest.raises(ArchiveBroken):
        await taken(target, cut)


async def test_spaces_that_are_not_active_here_come_as_registered(tmp_path: Path) -> None:
    urls = [f"sqlite+aiosqlite:///{tmp_path / name / 'halflight.db'}" for name in ("one", "two")]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    await fill(urls[0], tmp_path / "one")
    source, target = await opened(urls[0], tmp_path / "one"), await opened(urls[1], tmp_path / "two")
    async with source.write() as uow:
        await uow.spaces.register(OTHER, "bundle", D, "ready")
        for name in NAMES:
            samples = [one.sample_id for one in await uow.samples.of_subject(name)]
            await uow.templates.add_missing(OTHER, {one: vector(i, D) for i, one in enumerate(samples)})
        await uow.commit()
    async with target.write() as uow:
        await uow.spaces.register(OTHER, "bundle", D, "active")
        await uow.commit()
    made = await taken(target, await archive(source, tmp_path / "gallery"))
    assert made.contents.templates == 20
    async with target.read() as uow:
        assert {one.space_id: one.state for one in await uow.spaces.all()} == {
            SPACE: "registered",
            OTHER: "active",
        }
    for db in (source, target):
        await db.close()


async def test_a_client_that_takes_nothing_ends_the_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outflow, "CHUNK_BYTES", 10)
    sink, ended = Waiting(), asyncio.Event()

    async def steps() -> AsyncGenerator[None]:
        try:
            for _ in range(1000):
                sink.write(b"0123456789")
                yield
        finally:
            ended.set()

    parts = sent(sink, steps(), stall_s=0.05)
    assert await anext(parts) == b"0123456789"
    await asyncio.wait_for(ended.wait(), 30)
    with pytest.raises(ClientStalled):
        async for _ in parts:
            pass


async def test_the_bytes_come_whole_and_a_client_that_goes_ends_the_writing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outflow, "CHUNK_BYTES", 100)
    wanted = b"".join(b"%05d" % number for number in range(5000))
    for left_after in (None, 3):
        sink, ended = Waiting(), asyncio.Event()

        async def steps(sink: Waiting = sink, ended: asyncio.Event = ended) -> AsyncGenerator[None]:
            try:
                for number in range(5000):
                    sink.write(b"%05d" % number)
                    yield
            finally:
                ended.set()

        parts, got, count = sent(sink, steps()), b"", 0
        async for part in parts:
            got, count = got + part, count + 1
            if count == left_after:
                break
        await parts.aclose()
        await asyncio.wait_for(ended.wait(), 30)
        assert got == wanted if left_after is None else wanted.startswith(got)


def test_the_two_databases_of_a_pair_have_keys_of_their_own(tmp_path: Path) -> None:
    """What `shown` compares says nothing if one master key opens both."""
    keys = [MasterKeys(KeyFile(tmp_path / name)).create().key_id for name in "ab"]
    assert keys[0] != keys[1]
