"""Use cases over HTTP: send the whole gallery as an archive, and take one into a service without subjects.

The gallery is the subjects with all that is kept of them, and the spaces of their templates. API keys and
the audit log stay where they are: the service that takes it has its own, and a chain cannot be joined to
another. An entry on both sides names the archive.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.errors import GalleryNotEmpty, SpaceNotReady
from service.moving.archive import ArchiveReader, ArchiveWriter, Header, Kind
from service.moving.backup import (
    Contents,
    Damaged,
    finish_book,
    new_header,
    take_subject,
    verify,
    write_gallery,
    write_spaces,
)
from service.moving.book import KeyBook
from service.moving.locks import For, Secret
from service.moving.stream import ArchiveBroken
from service.outflow import Waiting, sent
from service.store.database import Database
from service.store.records import NewBundle
from service.store.unit import UnitOfWork


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken out of an archive. `audit_id`: the entry about it."""

    header: Header
    contents: Contents
    audit_id: int


async def export_gallery(db: Database, who: For, book: KeyBook | None, actor: str) -> AsyncIterator[bytes]:
    """The bytes of an archive of one moment. Before it returns, an audit entry says that it is sent.

    `book`: where the keys of the subjects go once the archive is whole; None: into the archive. If
    something stored does not open, the bytes end before the archive does, with Damaged.
    Raises LockError, StoreError.
    """
    header, key = await asyncio.to_thread(new_header, who, inside=book is None)
    async with db.write() as uow:
        detail = {"archive_id": header.archive_id, "keys": header.keys, "lock": header.lock.kind}
        await uow.audit.add(actor, "gallery.export", None, detail)
        await uow.commit()
    sink = Waiting()
    return sent(sink, _write(db, ArchiveWriter(sink, header, key), who, book))


async def _write(db: Database, writer: ArchiveWriter, who: For, book: KeyBook | None) -> AsyncGenerator[None]:
    keys: dict[str, bytes] = {}
    async with db.read() as uow:
        await uow.audit.freeze()
        await write_spaces(uow, writer)
        async with aclosing(write_gallery(uow, writer, Contents(), keys)) as steps:
            async for _ in steps:
                yield
    if len(db.refused):
        raise Damaged(str(db.refused))
    writer.close()
    if book is not None:
        await finish_book(db, book, keys, who)
    yield


async def refuse_occupied(db: Database) -> None:
    """Raises GalleryNotEmpty if the database holds subjects, StoreError."""
    async with db.read() as uow:
        await _refuse_occupied(uow)


async def _refuse_occupied(uow: UnitOfWork) -> None:
    if count := await uow.subjects.count():
        raise GalleryNotEmpty(f"{count} subjects are enrolled: a gallery is taken only where there is none")


async def import_gallery(
    db: Database, path: Path, secrets: Sequence[Secret], book: KeyBook | None, actor: str
) -> Imported:
    """Verifies an archive, then takes its gallery in one transaction: all of it or nothing.

    Raises ArchiveBroken, LockError, GalleryNotEmpty, SpaceNotReady, StoreError, OSError.
    """
    reader = await asyncio.to_thread(ArchiveReader, path, secrets)
    keys = await asyncio.to_thread(_keys, reader, secrets, book)
    await asyncio.to_thread(verify, reader, keys, lambda *_: None)
    contents, sizes = Contents(), dict[str, int]()
    async with db.write() as uow:
        await uow.spaces.lock_enrolments()
        await uow.spaces.lock_exclusive()
        await _refuse_occupied(uow)
        for kind, payload in reader.records():
            if kind is Kind.SPACES:
                sizes = await _take_spaces(uow, json.loads(payload))
            elif kind is Kind.SUBJECT and await take_subject(uow, reader, payload, keys, sizes, contents):
                # Sealing takes milliseconds for each subject; others are answered in between.
                await asyncio.sleep(0)
        detail = {"archive_id": reader.header.archive_id, "made_at": reader.header.made_at}
        counts = {name: number for name, number in asdict(contents).items() if name in COUNTED}
        entry = await uow.audit.add(actor, "gallery.import", None, detail | counts)
        await uow.commit()
    return Imported(reader.header, contents, entry.audit_id)


COUNTED = ("subjects", "samples", "templates", "crops", "unreadable")


def _keys(reader: ArchiveReader, secrets: Sequence[Secret], book: KeyBook | None) -> dict[str, bytes]:
    if reader.header.keys == "inside":
        return reader.inner_keys()
    if book is None:
        raise ArchiveBroken("its keys lie in a key book: name that with HALFLIGHT_BACKUP_KEYS")
    try:
        return book.read(secrets)
    except OSError as error:
        raise ArchiveBroken("its key book cannot be read here") from error


async def _take_spaces(uow: UnitOfWork, spaces: list[dict[str, Any]]) -> dict[str, int]:
    """Registers the spaces of the archive and returns their dimensions.

    The active space stays the active one, so the archive must be whole in it. Every other becomes
    `registered`: a backfill makes it whole again. Raises SpaceNotReady.
    """
    active, known = await uow.spaces.active(), await uow.spaces.newest_bundles()
    states = {one["space"]["space_id"]: one["space"]["state"] for one in spaces}
    if active is None or states.get(active.space_id) not in ("active", "ready"):
        name = "" if active is None else f" {active.space_id}"
        raise SpaceNotReady(
            f"the archive is not whole in the active space{name}: begin with the bundle that made it"
        )
    for one in spaces:
        space, bundle = one["space"], one["bundle"]
        await uow.spaces.register(space["space_id"], space["bundle"], space["dimension"])
        if bundle is not None and space["space_id"] not in known:
            del bundle["registered_at"]
            await uow.spaces.add_bundle(NewBundle(**bundle))
        if space["space_id"] != active.space_id:
            await uow.spaces.set_state(space["space_id"], "registered")
    return {one["space"]["space_id"]: one["space"]["dimension"] for one in spaces}
