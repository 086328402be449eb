"""Use cases: write a backup of the whole database from one snapshot, verify one, restore one."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from service.moving.archive import ArchiveReader, ArchiveWriter, Header, Kind, split
from service.moving.book import KeyBook
from service.moving.locks import For, lock
from service.moving.stream import ArchiveBroken, new_key
from service.moving.subject import ArchivedSubject, count, gather_subject, restore_subject
from service.store.database import Database
from service.store.records import AuditCheckpoint, AuditEntry, NewBundle, StoredKey
from service.store.thresholds import ThresholdVersion
from service.store.unit import UnitOfWork

PAGE = 200
ACTOR = "cli"
Progress = Callable[[int, int], None]
# Neither these nor what is in `backfills` is in a backup: jobs and locks of a moment, answers of a day. No
# door is live because a backup was restored.
LEFT_OUT = (
    "door_modes",
    *("jobs", "job_events", "backfills", "idempotency", "retention_clock", "gallery_log", "master_keys"),
    *("id_keys", "kept_probes", "webhook_outbox", "outbox_deliveries", "track_answers", "snapshot_keys"),
)
CARRIED = (
    *("subjects", "subject_keys", "subject_terms", "samples", "templates", "crops", "spaces", "bundles"),
    *("api_keys", "audit_log", "audit_subjects", "audit_checkpoints"),
    *("threshold_versions", "active_thresholds"),
)


class NotEmpty(RuntimeError):
    """The database to restore into holds data already."""


class Damaged(RuntimeError):
    """Stored rows do not open, so that a backup would lack them without a word."""


@dataclass(slots=True)
class Contents:
    """What an archive holds. `unreadable`: subjects that were erased since, whose keys are gone."""

    subjects: int = 0
    samples: int = 0
    templates: int = 0
    crops: int = 0
    audit_entries: int = 0
    api_keys: int = 0
    unreadable: int = 0

    def take(self, subject: ArchivedSubject) -> None:
        samples, templates, crops = count(subject)
        self.subjects += 1
        self.samples += samples
        self.templates += templates
        self.crops += crops


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name once it is whole and lasts. Raises FileExistsError, OSError."""
    if path.exists():
        raise FileExistsError(17, "it is there already", str(path))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)


async def back_up(db: Database, path: Path, who: For, book: KeyBook | None, progress: Progress) -> Contents:
    """Writes the archive, and the key book unless the keys go into the archive (`book` None).

    Other processes go on writing; the archive shows one moment. Raises Damaged, StoreError, OSError.
    """
    contents, keys = Contents(), dict[str, bytes]()
    header, key = new_header(who, inside=book is None)
    with new_file(path) as file:
        writer = ArchiveWriter(file, header, key)
        async with db.read() as uow:
            await uow.audit.freeze()
            await write_spaces(uow, writer)
            await _write_keys_and_audit(uow, writer, contents)
            async for total in write_gallery(uow, writer, contents, keys):
                progress(contents.subjects, total)
        if len(db.refused):
            raise Damaged(str(db.refused))
        writer.close()
        if book is not None:
            await finish_book(db, book, keys, who)
    return contents


def new_header(who: For, *, inside: bool) -> tuple[Header, bytes]:
    """The header of a new archive, and its key. `inside`: the keys of the subjects lie in it.

    A passphrase takes some tenths of a second. Raises LockError.
    """
    key = new_key()
    header = Header(
        archive_id=secrets.token_hex(16),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        made_by=version("halflight"),
        keys="inside" if inside else "book",
        lock=lock(key, who),
    )
    return header, key


async def finish_book(db: Database, book: KeyBook, keys: dict[str, bytes], who: For) -> None:
    """Writes the key book of an archive that is whole. Raises StoreError, OSError."""
    with book.turn():
        book.write(keys, who)
        # Who was erased since the snapshot must not come back with the book.
        book.keep_only(await _live_keys(db))


async def write_spaces(uow: UnitOfWork, writer: ArchiveWriter) -> None:
    """Writes the spaces and their bundles. Raises StoreError, OSError."""
    bundles = await uow.spaces.newest_bundles()
    versions, in_force = await uow.thresholds.all(), await uow.thresholds.active()
    spaces = [
        {
            "space": asdict(space),
            "bundle": asdict(bundles[space.space_id]) if space.space_id in bundles else None,
            "thresholds": [asdict(one) for one in versions if one.space_id == space.space_id],
            "active_thresholds": in_force.get(space.space_id),
        }
        for space in await uow.spaces.all()
    ]
    writer.add(Kind.SPACES, _json(spaces))


async def _write_keys_and_audit(uow: UnitOfWork, writer: ArchiveWriter, contents: Contents) -> None:
    contents.api_keys = len(stored := await uow.keys.all())
    writer.add(Kind.API_KEYS, _json([asdict(one) for one in stored]))
    checkpoint = await uow.audit.checkpoint()
    writer.add(Kind.AUDIT, _json({"checkpoint": None if checkpoint is None else asdict(checkpoint)}))
    last = 0
    while page := await uow.audit.after(last, 1000):
        writer.add(Kind.AUDIT, _json({"entries": [asdict(one) for one in page]}))
        contents.audit_entries, last = contents.audit_entries + len(page), page[-1].audit_id


async def write_gallery(
    uow: UnitOfWork, writer: ArchiveWriter, contents: Contents, keys: dict[str, bytes]
) -> AsyncGenerator[int]:
    """Writes every subject with all that is kept of it; adds to `contents` and `keys`.

    Yields the number of all subjects after each. Raises StoreError, OSError.
    """
    total, after = await uow.subjects.count(), None
    while records := await uow.subjects.page(after, PAGE):
        for record in records:
            key = await uow.subject_keys.of_subject(record.subject_id)
            subject = await gather_subject(uow, record, key)
            writer.add_subject(key, subject.model_dump_json().encode())
            keys[key.key_id] = key.archive_key()
            contents.take(subject)
            yield total
        after = records[-1].subject_id


async def _live_keys(db: Database) -> set[str]:
    async with db.read() as uow:
        return await uow.subject_keys.key_ids()


def verify(reader: ArchiveReader, keys: dict[str, bytes], progress: Progress) -> Contents:
    """Reads the whole archive, opens every subject, compares counts and digests. Raises ArchiveBroken."""
    contents = Contents()
    for kind, payload in reader.records():
        if kind is Kind.SUBJECT:
            subject = read_subject(reader, payload, keys)
            if subject is None:
                contents.unreadable += 1
                continue
            contents.take(subject)
            progress(contents.subjects, 0)
        elif kind is Kind.AUDIT:
            contents.audit_entries += len(json.loads(payload).get("entries", ()))
        elif kind is Kind.API_KEYS:
            contents.api_keys = len(json.loads(payload))
    return contents


def read_subject(reader: ArchiveReader, payload: bytes, keys: dict[str, bytes]) -> ArchivedSubject | None:
    """A subject of the archive; None if its key is gone. Raises ArchiveBroken."""
    if (plain := reader.open_subject(payload, keys)) is None:
        return None
    try:
        return ArchivedSubject.model_validate_json(plain)
    except ValidationError as error:
        raise ArchiveBroken("a subject in it is malformed") from error


async def restore(
    db: Database, reader: ArchiveReader, keys: dict[str, bytes], progress: Progress
) -> Contents:
    """Restores a verified archive into an empty database, in one transaction: all of it or nothing.

    Raises NotEmpty, ArchiveBroken, StoreError.
    """
    contents, sizes = Contents(), dict[str, int]()
    async with db.write() as uow:
        if await uow.subjects.count() or await uow.keys.any_ever() or (await uow.audit.head()).audit_id:
            raise NotEmpty("the database holds subjects, API keys or audit entries")
        for kind, payload in reader.records():
            if kind is Kind.SPACES:
                sizes = await _restore_spaces(uow, json.loads(payload))
            elif kind is Kind.API_KEYS:
                for fields in json.loads(payload):
                    contents.api_keys += 1
                    await uow.keys.add(_stored_key(fields))
            elif kind is Kind.AUDIT:
                contents.audit_entries += await _restore_audit(uow, json.loads(payload))
            elif kind is Kind.SUBJECT and await take_subject(uow, reader, payload, keys, sizes, contents):
                progress(contents.subjects, 0)
        detail = {"archive_id": reader.header.archive_id, "made_at": reader.header.made_at} | asdict(contents)
        await uow.audit.add(ACTOR, "backup.restore", None, detail)
        await uow.commit()
    return contents


async def take_subject(
    uow: UnitOfWork,
    reader: ArchiveReader,
    payload: bytes,
    keys: dict[str, bytes],
    sizes: dict[str, int],
    contents: Contents,
) -> bool:
    """Restores one subject of an archive and counts it; false, and counted as unreadable, if its key is gone.

    `sizes`: the dimension of each space. Raises ArchiveBroken.
    """
    subject = read_subject(reader, payload, keys)
    if subject is None:
        contents.unreadable += 1
        return False
    await restore_subject(uow, subject, split(payload)[0], sizes)
    contents.take(subject)
    return True


async def _restore_spaces(uow: UnitOfWork, spaces: list[dict[str, Any]]) -> dict[str, int]:
    active = await uow.spaces.active()
    if active is not None and active.space_id not in {one["space"]["space_id"] for one in spaces}:
        raise NotEmpty(f"the database has an active space {active.space_id} of its own")
    for one in spaces:
        space, bundle = one["space"], one["bundle"]
        await uow.spaces.register(space["space_id"], space["bundle"], space["dimension"])
        if bundle is not None:
            del bundle["registered_at"]
            await uow.spaces.add_bundle(NewBundle(**bundle))
        await _restore_thresholds(uow, one)
    for one in sorted(spaces, key=lambda each: each["space"]["state"] == "active"):
        # A backfill that ran is no longer known: whoever wants it starts it again.
        state = one["space"]["state"]
        if active is not None and state == "active" and active.space_id != one["space"]["space_id"]:
            await uow.spaces.set_state(active.space_id, "ready")
        await uow.spaces.set_state(
            one["space"]["space_id"], "registered" if state == "backfilling" else state
        )
    return {one["space"]["space_id"]: one["space"]["dimension"] for one in spaces}


async def _restore_thresholds(uow: UnitOfWork, one: dict[str, Any]) -> None:
    """An archive that was made before thresholds could be installed has none."""
    for fields in one.get("thresholds", ()):
        moment = {"created_at": datetime.fromisoformat(fields["created_at"])}
        await uow.thresholds.restore(ThresholdVersion(**fields | moment))
    await uow.thresholds.activate(one["space"]["space_id"], one.get("active_thresholds"))


async def _restore_audit(uow: UnitOfWork, part: dict[str, Any]) -> int:
    if (checkpoint := part.get("checkpoint")) is not None:
        made_at = datetime.fromisoformat(checkpoint["made_at"])
        await uow.audit.keep_checkpoint(AuditCheckpoint(**checkpoint | {"made_at": made_at}))
    entries = [
        AuditEntry(**one | {"at": datetime.fromisoformat(one["at"])}) for one in part.get("entries", ())
    ]
    await uow.audit.restore(entries)
    return len(entries)


def _stored_key(fields: dict[str, Any]) -> StoredKey:
    times = ("created_at", "revoked_at", "expires_at", "last_used_at")
    read = {name: None if fields[name] is None else datetime.fromisoformat(fields[name]) for name in times}
    return StoredKey(**fields | read | {"permissions": tuple(fields["permissions"])})


def _json(value: Any) -> bytes:
    return json.dumps(value, default=lambda one: one.isoformat()).encode()
