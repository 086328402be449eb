"""Verifies the chain of the audit log, in the database and in an exported file, and exports it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.audit.signing import AuditSigner, BadSignature, SignedHead, signed
from service.store.audit_chain import BrokenChain, Head, follow
from service.store.database import Database
from service.store.records import AuditEntry
from service.store.unit import UnitOfWork

PAGE = 1000


@dataclass(frozen=True, slots=True)
class Verified:
    """A whole chain: its number of entries, where it begins (after a checkpoint) and where it ends."""

    entries: int
    start: Head
    head: Head


async def verify_log(
    db: Database, *, trusted_key: str | None = None, kept: SignedHead | None = None
) -> Verified:
    """Verifies every kept entry. `kept`: a head that was exported before, which must be in the log.

    Raises BrokenChain, BadSignature, StoreError.
    """
    count = 0
    async with db.read() as uow:
        await uow.audit.freeze()
        start = await _start(uow, trusted_key)
        head = start
        if kept is not None:
            kept.verify(trusted_key)
        async for page in _pages(uow, start):
            head = follow(head, page)
            count += len(page)
        if kept is not None and kept.audit_id > start.audit_id:
            found = await uow.audit.after(kept.audit_id - 1, 1)
            if not found or (found[0].audit_id, found[0].digest) != (kept.audit_id, kept.digest):
                raise BrokenChain(kept.audit_id, "the log does not hold the head that was kept")
    return Verified(count, start, head)


async def export_log(db: Database, signer: AuditSigner) -> AsyncIterator[dict[str, Any]]:
    """Yields the log as JSON objects: the start, each entry, and the signed head. Raises StoreError."""
    async with db.read() as uow:
        await uow.audit.freeze()
        checkpoint = await uow.audit.checkpoint()
        start = Head() if checkpoint is None else Head(checkpoint.audit_id, checkpoint.digest)
        head = start
        yield {"start": None if checkpoint is None else signed(checkpoint).as_json()}
        async for page in _pages(uow, start):
            for entry in page:
                yield entry_json(entry)
                head = Head(entry.audit_id, entry.digest)
    yield {"head": signer.sign(head).as_json()}


def verify_export(lines: Iterable[str], *, trusted_key: str | None = None) -> Verified:
    """Verifies what `export_log` yielded, one object a line. Raises BrokenChain, BadSignature."""
    objects = (_object(line) for line in lines if line.strip())
    first = next(objects, None)
    if first is None or "start" not in first:
        raise BadSignature("this is no export of an audit log: it has no start")
    start = Head()
    if first["start"] is not None:
        checkpoint = SignedHead.of(first["start"])
        checkpoint.verify(trusted_key)
        start = Head(checkpoint.audit_id, checkpoint.digest)
    head, count, end = start, 0, None
    for each in objects:
        if end is not None:
            raise BadSignature("the export goes on after its head")
        if "head" in each:
            end = SignedHead.of(each["head"])
            continue
        head = follow(head, [_entry(each)])
        count += 1
    if end is None:
        raise BadSignature("the export has no head: it is incomplete")
    end.verify(trusted_key)
    if (end.audit_id, end.digest) != (head.audit_id, head.digest):
        raise BrokenChain(head.audit_id, "the log does not end with the head that was signed")
    return Verified(count, start, head)


def entry_json(entry: AuditEntry) -> dict[str, Any]:
    """Returns an entry as JSON, from which `entry_digest` can be computed again."""
    return {
        "audit_id": entry.audit_id,
        "at": entry.at.isoformat(timespec="microseconds"),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": dict(entry.detail),
        "prev": entry.prev,
        "digest": entry.digest,
    }


async def _start(uow: UnitOfWork, trusted_key: str | None) -> Head:
    checkpoint = await uow.audit.checkpoint()
    if checkpoint is None:
        return Head()
    signed(checkpoint).verify(trusted_key)
    return Head(checkpoint.audit_id, checkpoint.digest)


async def _pages(uow: UnitOfWork, start: Head) -> AsyncIterator[list[AuditEntry]]:
    last = 0
    while page := await uow.audit.after(last, PAGE):
        if page[0].audit_id <= start.audit_id:
            raise BrokenChain(page[0].audit_id, "it stands before the checkpoint")
        yield page
        last = page[-1].audit_id


def _object(line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise BadSignature("a line of the export is no JSON") from error
    if not isinstance(content, dict):
        raise BadSignature("a line of the export is no JSON object")
    return content


def _entry(content: dict[str, Any]) -> AuditEntry:
    try:
        return AuditEntry(**content | {"at": datetime.fromisoformat(content["at"])})
    except (KeyError, TypeError, ValueError) as error:
        raise BadSignature("a line of the export is no audit entry") from error
