"""Everything that is stored about one subject, for that person: a zip that is written while it is sent.

No file is made of it here, because crops and templates lie in clear in it. What belongs to others, such as
the other candidates of an identification, is left out.
"""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from faces.align import ALIGNMENTS
from service.errors import SubjectNotFound
from service.outflow import Waiting
from service.store.audit_about import entries_about
from service.store.database import Database
from service.store.records import AuditEntry, SampleRecord, SubjectRecord
from service.store.term_records import SubjectTerms

SAMPLES_AT_ONCE = 8
ENTRIES_AT_ONCE = 500
READ_ME = """This archive holds everything that this face recognition service stores about one person.

subject.json    the id, the name and the metadata; since when; consent, legal hold and end; each photo
                that was enrolled with the day, what was measured on it, and the files made of it
templates.json  the numbers that the service compares, by photo and by model ("space")
crops/          the parts of the photos that are kept: the aligned face, as a picture
audit.json      what was done with these data and by whom (the id of a key): enrolments, identifications
                with scores and decisions, changes, reads

The photos themselves are not stored. Of an identification in which others were candidates too, only what
concerns this person is shown.
"""


@dataclass(frozen=True, slots=True)
class _Subject:
    """What one read of the database found."""

    record: SubjectRecord
    terms: SubjectTerms
    samples: Sequence[SampleRecord]
    templates: list[dict[str, Any]]
    spaces: list[dict[str, Any]]
    name: str | None


async def export_subject(db: Database, subject_id: str, actor: str) -> AsyncIterator[bytes]:
    """The bytes of the zip. Before it returns, an audit entry says that the subject was exported.

    A subject that is erased meanwhile ends the bytes before the zip ends, with SubjectNotFound.
    Raises SubjectNotFound, StoreError.
    """
    async with db.write() as uow:
        if await uow.subjects.get(subject_id) is None:
            raise _gone(subject_id)
        await uow.audit.add(actor, "subject.export", subject_id, {})
        await uow.commit()
    found = await _read(db, subject_id)
    return _zipped(db, found)


async def _zipped(db: Database, found: _Subject) -> AsyncIterator[bytes]:
    sent = Waiting()
    archive = zipfile.ZipFile(sent, "w", zipfile.ZIP_DEFLATED)  # type: ignore[call-overload]
    files: dict[str, list[str]] = {}
    unreadable: list[str] = []
    archive.writestr("README.txt", READ_ME)
    for start in range(0, len(found.samples), SAMPLES_AT_ONCE):
        chosen = [one.sample_id for one in found.samples[start : start + SAMPLES_AT_ONCE]]
        for name, sample_id, png in await _crops(db, found.record.subject_id, chosen):
            if png is None:
                unreadable.append(name)
                continue
            # A PNG is compressed already.
            archive.writestr(name, png, zipfile.ZIP_STORED)
            files.setdefault(sample_id, []).append(name)
            yield sent.take()
    templates = await asyncio.to_thread(_json, found.templates)
    await asyncio.to_thread(archive.writestr, "templates.json", templates)
    yield sent.take()
    async with AsyncExitStack() as stack:
        log = stack.enter_context(archive.open("audit.json", "w"))
        before = b"[\n"
        async for entries in _entries(db, found.name):
            for entry in entries:
                log.write(before + json.dumps(entry).encode())
                before = b",\n"
            yield sent.take()
        log.write(b"[]\n" if before == b"[\n" else b"\n]\n")
    archive.writestr("subject.json", _json(_described(found, files, unreadable)))
    archive.close()
    yield sent.take()


async def _read(db: Database, subject_id: str) -> _Subject:
    async with db.read() as uow:
        record = await uow.subjects.get(subject_id)
        if record is None:
            raise _gone(subject_id)
        spaces, templates = [], []
        for space in await uow.spaces.all():
            owned = await uow.templates.of_subject(space.space_id, subject_id)
            if owned:
                spaces.append({"space_id": space.space_id, "bundle": space.bundle, "state": space.state})
            templates += [
                {
                    "sample_id": one.owner.sample_id,
                    "space_id": space.space_id,
                    "vector": [float(number) for number in one.vector],
                }
                for one in owned
            ]
        return _Subject(
            record=record,
            terms=await uow.terms.get(subject_id),
            samples=await uow.samples.of_subject(subject_id),
            templates=templates,
            spaces=spaces,
            name=await uow.audit.find_name(subject_id),
        )


async def _crops(db: Database, subject_id: str, sample_ids: list[str]) -> list[tuple[str, str, bytes | None]]:
    """Names in the zip, samples and PNGs of the kept crops."""
    found = []
    async with db.read() as uow:
        if await uow.subjects.get(subject_id) is None:
            raise _gone(subject_id)
        for alignment in sorted(ALIGNMENTS):
            for sample_id, crop in (await uow.crops.of_samples(sample_ids, alignment)).items():
                found.append((f"crops/{sample_id}-{alignment}.png", sample_id, crop.png))
    return sorted(found)


async def _entries(db: Database, name: str | None) -> AsyncIterator[list[dict[str, Any]]]:
    """What the audit log says about the subject, page by page."""
    last, page = 0, None
    while name is not None and (page is None or len(page) == ENTRIES_AT_ONCE):
        async with db.read() as uow:
            page = await entries_about(uow, name, last, ENTRIES_AT_ONCE)
        if page:
            last = page[-1].audit_id
        yield [_entry(one, name) for one in page]


def _entry(entry: AuditEntry, name: str) -> dict[str, Any]:
    """An entry without what it says about others."""
    detail = dict(entry.detail)
    if "candidates" in detail:
        detail["candidates"] = [
            {key: value for key, value in one.items() if key != "subject"}
            for one in detail["candidates"]
            if one["subject"] == name
        ]
    if entry.subject not in (None, name):
        # The decision was for another candidate.
        detail.pop("decision", None)
    return {
        "audit_id": entry.audit_id,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "about": "this person" if entry.subject == name else "a candidate among others",
        "detail": detail,
    }


def _described(found: _Subject, files: dict[str, list[str]], unreadable: list[str]) -> dict[str, Any]:
    record = found.record
    return {
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": f"halflight {version('halflight')}",
        "subject_id": record.subject_id,
        "display_name": record.display_name,
        "metadata": dict(record.metadata),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "terms": asdict(found.terms),
        "name_in_audit_log": found.name,
        "spaces": found.spaces,
        "samples": [
            {key: value for key, value in asdict(sample).items() if key != "subject_id"}
            | {
                "templates": [
                    one["space_id"] for one in found.templates if one["sample_id"] == sample.sample_id
                ],
                "crops": files.get(sample.sample_id, []),
            }
            for sample in found.samples
        ],
        "crops_that_do_not_open": unreadable,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, default=lambda one: one.isoformat()).encode()


def _gone(subject_id: str) -> SubjectNotFound:
    return SubjectNotFound(f"no subject {subject_id} is enrolled")
