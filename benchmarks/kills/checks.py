"""Looks at a database after a kill, with the services at rest beside it: seals, rows, chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Select, func, literal, select, text

from benchmarks.kills.ledger import Known
from faces.align import ALIGNMENTS
from service.audit.verification import verify_log
from service.sealing.sources import MasterKeys
from service.settings import Settings
from service.store.audit_chain import BrokenChain
from service.store.database import Database
from service.store.tables import (
    audit_log,
    audit_subjects,
    crops,
    gallery_log,
    master_keys,
    samples,
    spaces,
    subject_keys,
    subjects,
    templates,
)
from service.store.unit import UnitOfWork


@dataclass(frozen=True, slots=True)
class Stored:
    """`faults`: what is wrong, in words. `entries`: of the audit log."""

    faults: tuple[str, ...]
    entries: int


def _count(query: Select[int]) -> Select[int]:
    return select(func.count()).select_from(query.subquery())


def _missing(column: Column[Any], kept: Select[Any] | Column[Any]) -> Select[int]:
    """Rows whose value of a column is not among those that are kept elsewhere."""
    values = select(kept) if isinstance(kept, Column) else kept
    return select(literal(1)).select_from(column.table).where(column.not_in(values))


def _must_be_none() -> dict[str, Select[int]]:
    """What no database may hold, by its name."""
    in_active_space = (
        select(templates.c.sample_id)
        .join(spaces, spaces.c.space_id == templates.c.space_id)
        .where(spaces.c.state == "active")
    )
    return {
        "samples without a subject": _missing(samples.c.subject_id, subjects.c.subject_id),
        "templates without a sample": _missing(templates.c.sample_id, samples.c.sample_id),
        "crops without a sample": _missing(crops.c.sample_id, samples.c.sample_id),
        "subjects without a key": _missing(subjects.c.subject_id, subject_keys.c.subject_id),
        "keys without a subject": _missing(subject_keys.c.subject_id, subjects.c.subject_id),
        "audit secrets without a subject": _missing(audit_subjects.c.subject_id, subjects.c.subject_id),
        "subjects without a sample": _missing(subjects.c.subject_id, samples.c.subject_id),
        "samples without a template in the active space": _missing(samples.c.sample_id, in_active_space),
        "keys under an unknown master key": _missing(subject_keys.c.master_id, master_keys.c.key_id),
    }


UNSEARCHED = (
    "SELECT count(*) FROM templates t LEFT JOIN search_vectors s"
    " ON s.template_id = t.template_id AND s.space_id = t.space_id WHERE s.template_id IS NULL"
)


async def look(settings: Settings, expected: Mapping[str, Known], enrolled: int, erased: int) -> Stored:
    """Opens everything that is stored, counts, and verifies the chain.

    `expected`: subjects that must be there. `enrolled`, `erased`: acknowledged so far, of which the log must
    hold an entry each. Raises StoreError, MasterKeyError.
    """
    db = await Database.open(settings.sqlalchemy_url, MasterKeys(settings.key_source))
    faults: list[str] = []
    try:
        async with db.read() as uow:
            # One moment for all queries: a job may be at work.
            await uow.audit.freeze()
            faults += await _rows(uow)
            faults += await _opened(uow, expected)
            rows = await uow.connection.execute(
                select(audit_log.c.action, func.count()).group_by(audit_log.c.action)
            )
            actions = {action: int(count) for action, count in rows}
            for action, least in (("subject.enrol", enrolled), ("subject.erase", erased)):
                if actions.get(action, 0) < least:
                    faults.append(f"audit: {actions.get(action, 0)} entries {action}, {least} acknowledged")
        if db.refused:
            faults.append(f"seals: {db.refused}")
        try:
            verified = await verify_log(db)
        except BrokenChain as error:
            return Stored((*faults, f"chain: {error}"), 0)
    finally:
        await db.close()
    return Stored(tuple(faults), verified.entries)


async def _rows(uow: UnitOfWork) -> list[str]:
    faults = []
    for name, query in _must_be_none().items():
        if count := (await uow.connection.execute(_count(query))).scalar_one():
            faults.append(f"integrity: {count} {name}")
    if uow.search.kept and (count := (await uow.connection.execute(text(UNSEARCHED))).scalar_one()):
        faults.append(f"integrity: {count} templates without a search vector")
    if uow.connection.dialect.name == "sqlite":
        for check in ("integrity_check", "foreign_key_check"):
            said = [tuple(row) for row in await uow.connection.execute(text(f"PRAGMA {check}"))]
            if said not in ([], [("ok",)]):
                faults.append(f"integrity: PRAGMA {check} says {said[:3]}")
    return faults


async def _opened(uow: UnitOfWork, expected: Mapping[str, Known]) -> list[str]:
    """Opens every template, every crop and every subject's metadata; follows the log to its end."""
    faults = []
    for space in await uow.spaces.all():
        kept = set((await uow.log.snapshot(space.space_id)).ids.tolist())
        query = select(gallery_log.c.template_id, gallery_log.c.op).where(
            gallery_log.c.space_id == space.space_id
        )
        log = set[int]()
        for template_id, op in await uow.connection.execute(query.order_by(gallery_log.c.seq)):
            (log.add if op == "add" else log.discard)(template_id)
        if log != kept:
            faults.append(
                f"integrity: the log of a space ends with {len(log)} templates, {len(kept)} are kept"
            )
    ids = list((await uow.connection.execute(select(samples.c.sample_id))).scalars())
    for alignment in ALIGNMENTS:
        found = await uow.crops.of_samples(ids, alignment)
        faults += [
            f"seals: a crop of sample {one} does not open" for one, c in found.items() if c.png is None
        ]
    for subject_id in expected:
        record = await uow.subjects.get(subject_id)
        if record is None:
            faults.append(f"lost: {subject_id} was acknowledged and has no row")
        elif record.metadata != {"of": subject_id}:
            faults.append(f"seals: the metadata of {subject_id} are another's, or do not open")
    return faults
