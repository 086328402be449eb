"""Stores subjects and their samples. Callers name a subject by its id; the tables hold its token."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, String, cast, delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from faces.types import Spectrum
from service.sealing.keys import SubjectKey
from service.sealing.tokens import MARK
from service.store.columns import metadata as schema
from service.store.descriptions import SEALED_SUBJECT, open_subject, read_description, seal_description
from service.store.errors import StoreError
from service.store.gallery_log import GalleryLog
from service.store.portions import portions
from service.store.records import Erased, Moved, NewSample, SampleRecord, SubjectRecord, SubjectSelection
from service.store.resealing import reseal_all
from service.store.spaces import lock_spaces_shared
from service.store.subject_ids import seal_id
from service.store.subject_keys import SubjectKeys, Unsealed
from service.store.tables import crops, idempotency, samples, subject_keys, subjects
from service.store.terms import refuse_held

_COUNT = select(func.count()).where(samples.c.subject_id == subjects.c.subject_id).scalar_subquery()
_SUBJECT = select(
    subjects.c.subject_id,
    subjects.c.created_at,
    subjects.c.updated_at,
    _COUNT,
    *SEALED_SUBJECT,
).outerjoin(subject_keys, subject_keys.c.subject_id == subjects.c.subject_id)
# Rows of these columns belong to a subject and follow it to another token.
REFERENCES = tuple(
    key.parent
    for table in schema.sorted_tables
    for key in sorted(table.foreign_keys, key=lambda key: key.parent.name)
    if key.column is subjects.c.subject_id
)

# The first key of PostgreSQL's two-key advisory locks on subjects.
SUBJECT_LOCKS = 0x5B1


async def _lock_subjects(connection: AsyncConnection, tokens: Iterable[str]) -> None:
    """Takes the locks of subjects until the transaction ends; every change of a subject needs its lock.

    In the order of the locks' numbers, so that no two transactions wait for each other. A subquery that
    is ordered stays one, so its rows, and with them the locks, come in that order.

    Without it a template could be committed after an erasure has listed the templates, and the cascade
    would delete it without a row in the log. A row lock does not do: the row may not exist yet, and
    PostgreSQL finds deadlocks among transactions that delete, upsert and lock one row. SQLite has one
    writer and needs no lock.
    """
    if connection.dialect.name != "postgresql":
        return
    ids = func.unnest(cast(list(tokens), ARRAY(String))).column_valued("id")
    numbers = select(func.hashtext(ids).label("number")).distinct().order_by("number").subquery()
    await connection.execute(select(func.pg_advisory_xact_lock(SUBJECT_LOCKS, numbers.c.number)))


async def _lock_subject(connection: AsyncConnection, token: str) -> None:
    await _lock_subjects(connection, [token])


def new_sample_id() -> str:
    """Returns a random id (UUID 4), unique across databases."""
    return str(uuid.uuid4())


async def _count_crops(connection: AsyncConnection, token: str, sample_id: str) -> int:
    query = (
        select(func.count())
        .select_from(crops)
        .join(samples, samples.c.sample_id == crops.c.sample_id)
        .where(samples.c.subject_id == token, samples.c.sample_id == sample_id)
    )
    return int((await connection.execute(query)).scalar_one())


async def _count_crops_of(connection: AsyncConnection, tokens: Sequence[str]) -> dict[str, int]:
    query = (
        select(samples.c.subject_id, func.count())
        .select_from(crops)
        .join(samples, samples.c.sample_id == crops.c.sample_id)
        .where(samples.c.subject_id.in_(tokens))
        .group_by(samples.c.subject_id)
    )
    return {token: int(count) for token, count in await connection.execute(query)}


def _conditions(wanted: SubjectSelection) -> Iterator[ColumnElement[bool]]:
    """The SQL of a selection."""
    if wanted.enrolled_since is not None:
        yield subjects.c.created_at >= wanted.enrolled_since
    if wanted.spectrum is not None or wanted.masked is not None:
        sample = select(samples.c.sample_id).where(samples.c.subject_id == subjects.c.subject_id)
        if wanted.spectrum is not None:
            sample = sample.where(samples.c.spectrum == wanted.spectrum.value)
        if wanted.masked is not None:
            sample = sample.where(samples.c.masked == wanted.masked)
        yield sample.exists()


class Subjects:
    """All SQL about subjects."""

    def __init__(
        self, connection: AsyncConnection, log: GalleryLog, keys: SubjectKeys, unsealed: Unsealed
    ) -> None:
        self._connection, self._log, self._keys, self._unsealed = connection, log, keys, unsealed

    async def get(self, subject_id: str) -> SubjectRecord | None:
        query = _SUBJECT.where(subjects.c.subject_id == await self._token(subject_id))
        row = (await self._connection.execute(query)).first()
        if row is None:
            return None
        record = self._record(*row)
        # Whoever knows the id sees it, even if it does not open.
        return record if subject_id.startswith(MARK) else replace(record, subject_id=subject_id)

    async def _token(self, subject_id: str) -> str:
        return await self._keys.ids.token(subject_id)

    def _record(
        self, token: str, created_at: datetime, updated_at: datetime, count: int, *sealed: Any
    ) -> SubjectRecord:
        opened = open_subject(self._unsealed, token, *sealed)
        return SubjectRecord(
            opened.subject_id,
            opened.metadata,
            created_at,
            updated_at,
            opened.display_name,
            count,
            place=token,
        )

    async def lock(self, subject_ids: Iterable[str]) -> None:
        """Takes the locks of several subjects until the transaction ends, before it reads them."""
        await _lock_subjects(self._connection, await self._keys.ids.tokens(subject_ids))

    async def ensure(
        self,
        subject_id: str,
        metadata: dict[str, Any] | None,
        display_name: str | None = None,
        *,
        key: SubjectKey | None = None,
    ) -> bool:
        """Creates the subject or updates its time stamp; replaces metadata and display name if given.

        `key`: that of the subject, if it is new; None for one that is made here. Returns whether it is new.
        Raises StoreError.
        """
        if await self.change(subject_id, metadata=metadata, display_name=display_name):
            return False
        if subject_id.startswith(MARK):
            raise StoreError("a token names no new subject")
        now, token = datetime.now(UTC), await self._token(subject_id)
        values = {"subject_id": token, "metadata": {}, "created_at": now, "updated_at": now}
        await self._connection.execute(insert(subjects).values(**values))
        key = await self._keys.create(token, key)
        sealed = seal_description(key, metadata or {}, display_name)
        kept = {"sealed": sealed, "sealed_id": seal_id(key, token, subject_id)}
        await self._connection.execute(update(subjects).where(subjects.c.subject_id == token).values(kept))
        return True

    async def page(
        self, after: str | None, limit: int, wanted: SubjectSelection | None = None
    ) -> list[SubjectRecord]:
        """Returns up to `limit` selected subjects after the one with the id or place `after`.

        The order is that of the places, which a subject keeps as long as it keeps its id.
        """
        # Below the mark lies no token: such a row is not the service's.
        last = MARK if after is None else await self._token(after)
        query = _SUBJECT.where(subjects.c.subject_id > last).order_by(subjects.c.subject_id).limit(limit)
        for condition in _conditions(wanted or SubjectSelection()):
            query = query.where(condition)
        return [self._record(*row) for row in await self._connection.execute(query)]

    async def at(self, places: Iterable[str]) -> dict[str, SubjectRecord]:
        """Returns the subjects at these places, each by its place."""
        found: dict[str, SubjectRecord] = {}
        for chosen in portions(sorted(set(places))):
            query = _SUBJECT.where(subjects.c.subject_id.in_(chosen))
            for row in await self._connection.execute(query):
                found[row[0]] = self._record(*row)
        return found

    async def describe(
        self, subject_id: str, *, metadata: dict[str, Any], display_name: str | None, created_at: datetime
    ) -> None:
        """Replaces what is known of a subject, for a merge."""
        clear = display_name is None
        await self.change(subject_id, metadata=metadata, display_name=display_name, clear_name=clear)
        changed = update(subjects).where(subjects.c.subject_id == await self._token(subject_id))
        await self._connection.execute(changed.values(created_at=created_at))

    async def set_times(self, subject_id: str, *, created_at: datetime, updated_at: datetime) -> None:
        """Gives a restored subject its times back."""
        changed = update(subjects).where(subjects.c.subject_id == await self._token(subject_id))
        await self._connection.execute(changed.values(created_at=created_at, updated_at=updated_at))

    async def change(
        self,
        subject_id: str,
        *,
        metadata: dict[str, Any] | None = None,
        display_name: str | None = None,
        clear_name: bool = False,
    ) -> bool:
        """Replaces what is given and updates the time stamp; false if there is no such subject.

        `clear_name`: the subject has no display name then. Raises StoreError if the description that is
        there does not open.
        """
        token = await self._token(subject_id)
        await _lock_subject(self._connection, token)
        query = select(subjects.c.sealed).where(subjects.c.subject_id == token)
        row = (await self._connection.execute(query)).first()
        if row is None:
            return False
        values: dict[str, Any] = {"updated_at": datetime.now(UTC)}
        if metadata is not None or display_name is not None or clear_name:
            key = await self._keys.of_subject(token)
            old_metadata, old_name = read_description(key, row[0])
            name = None if clear_name else old_name if display_name is None else display_name
            values["sealed"] = seal_description(key, old_metadata if metadata is None else metadata, name)
        await self._connection.execute(update(subjects).where(subjects.c.subject_id == token).values(values))
        return True

    async def rename(self, old: str, new: str) -> None:
        """Gives a subject another id: everything that refers to it follows, templates keep their ids.

        The caller holds both locks and has seen that `old` exists and `new` does not.
        """
        before, after = await self._token(old), await self._token(new)
        key = await self._keys.rename(before, after)
        changed = {"subject_id": literal(after, subjects.c.subject_id.type)}
        changed["sealed_id"] = literal(seal_id(key, after, new), subjects.c.sealed_id.type)
        row = select(*(changed.get(column.name, column) for column in subjects.c))
        names = [column.name for column in subjects.c]
        here = subjects.c.subject_id == before
        await self._connection.execute(insert(subjects).from_select(names, row.where(here)))
        for column in REFERENCES:
            await self._connection.execute(
                update(column.table).where(column == before).values({column.name: after})
            )
        await self._move_answers(before, after)
        await self._connection.execute(delete(subjects).where(here))
        await self.change(after)

    async def absorb(self, into: str, source: str) -> Moved:
        """Moves the samples of `source` to `into`, with their templates and crops, and deletes `source`.

        A sample of a photo that `into` has already is deleted instead, and the log says so. The caller
        holds both locks and has seen that both subjects exist. Raises OnHold if `source` is on hold.
        """
        name, into, source = source, await self._token(into), await self._token(source)
        await refuse_held(self._connection, {source: name})
        await lock_spaces_shared(self._connection)
        known = select(samples.c.digest).where(samples.c.subject_id == into)
        twice = select(samples.c.sample_id).where(samples.c.subject_id == source, samples.c.digest.in_(known))
        repeated = [row[0] for row in await self._connection.execute(twice.order_by(samples.c.sample_id))]
        for sample_id in repeated:
            await self._log.append_removals(source, sample_id)
            await self._connection.execute(delete(samples).where(samples.c.sample_id == sample_id))
        moving = select(samples.c.sample_id).where(samples.c.subject_id == source)
        # Against a backfill, which would seal a template under the key of the source after this.
        locked = moving.order_by(samples.c.sample_id).with_for_update()
        moved_ids = [row[0] for row in await self._connection.execute(locked)]
        old, new = await self._keys.of_subject(source), await self._keys.of_subject(into)
        await reseal_all(self._connection, old, new, source, moved_ids)
        moved = update(samples).where(samples.c.subject_id == source).values(subject_id=into)
        count = (await self._connection.execute(moved)).rowcount
        for sample_id in moved_ids:
            self._keys.note_owner(sample_id, into)
        await self._move_answers(source, into)
        await self._connection.execute(delete(subjects).where(subjects.c.subject_id == source))
        self._keys.shredded.append(old.key_id)
        return Moved(moved=count, already_there=len(repeated))

    async def _move_answers(self, old: str, new: str) -> None:
        """Stored answers about a subject are erased with it, under whatever id it has by then."""
        answers = update(idempotency).where(idempotency.c.subject_id == old).values(subject_id=new)
        await self._connection.execute(answers)

    async def delete(self, subject_id: str) -> Erased | None:
        """Deletes the subject, its samples, templates, crops and stored answers.

        Returns the numbers deleted, or None if there is no such subject. Raises OnHold.
        """
        erased = await self.begin_erasure([subject_id])
        await self.end_erasure(list(erased))
        return erased.get(subject_id)

    async def begin_erasure(self, subject_ids: Sequence[str]) -> dict[str, Erased]:
        """Logs the removal of every template of these subjects; their rows are still there.

        Takes their locks. Maps each subject that exists to the numbers that `end_erasure` deletes.
        Raises OnHold if one of them is on hold.
        """
        given = await self._keys.ids.tokens(subject_ids)
        await _lock_subjects(self._connection, given)
        await refuse_held(self._connection, given)
        existing = (
            select(subjects.c.subject_id, _COUNT, subject_keys.c.key_id)
            .outerjoin(subject_keys, subject_keys.c.subject_id == subjects.c.subject_id)
            .where(subjects.c.subject_id.in_(list(given)))
        )
        found = {row[0]: (row[1], row[2]) for row in await self._connection.execute(existing)}
        if not found:
            return {}
        self._keys.shredded += [key_id for _, key_id in found.values() if key_id is not None]
        removed = await self._log.append_removals_of(list(found))
        kept = await _count_crops_of(self._connection, list(found))
        return {
            given[token]: Erased(count, removed.get(token, 0), kept.get(token, 0), key_id)
            for token, (count, key_id) in found.items()
        }

    async def end_erasure(self, subject_ids: Sequence[str]) -> None:
        """Deletes these subjects with their keys, samples, templates, crops and stored answers."""
        chosen = list(await self._keys.ids.tokens(subject_ids))
        await self._connection.execute(delete(idempotency).where(idempotency.c.subject_id.in_(chosen)))
        await self._connection.execute(delete(subjects).where(subjects.c.subject_id.in_(chosen)))

    async def count(self) -> int:
        return int((await self._connection.execute(select(func.count()).select_from(subjects))).scalar_one())


class Samples:
    """All SQL about samples."""

    def __init__(self, connection: AsyncConnection, log: GalleryLog, keys: SubjectKeys) -> None:
        self._connection, self._log, self._keys = connection, log, keys

    async def add(
        self, sample: NewSample, sample_id: str | None = None, *, created_at: datetime | None = None
    ) -> str:
        """Adds a sample with `sample_id`, or with a new id, and returns the id."""
        sample_id = sample_id or new_sample_id()
        token = await self._keys.ids.token(sample.subject_id)
        self._keys.note_owner(sample_id, token)
        await self._connection.execute(
            insert(samples).values(
                sample_id=sample_id,
                subject_id=token,
                digest=sample.digest,
                spectrum=sample.spectrum.value,
                masked=sample.masked,
                mask_probability=sample.mask_probability,
                quality_score=sample.quality_score,
                inter_eye_px=sample.inter_eye_px,
                source_width=sample.source_width,
                source_height=sample.source_height,
                created_at=created_at or datetime.now(UTC),
            )
        )
        return sample_id

    async def of_subject(self, subject_id: str) -> list[SampleRecord]:
        """Returns the samples of a subject, oldest first."""
        query = (
            select(samples)
            .where(samples.c.subject_id == await self._keys.ids.token(subject_id))
            .order_by(samples.c.created_at, samples.c.sample_id)
        )
        rows = (await self._connection.execute(query)).mappings()
        return [
            SampleRecord(**{**row, "subject_id": subject_id, "spectrum": Spectrum(row["spectrum"])})
            for row in rows
        ]

    async def with_digest(self, subject_id: str, digest: str) -> str | None:
        """Returns the id of the subject's oldest sample of these image bytes; None if it has none.

        Nobody else adds one before the transaction ends: `Subjects.ensure` holds the subject's lock.
        """
        token = await self._keys.ids.token(subject_id)
        query = (
            select(samples.c.sample_id)
            .where(samples.c.subject_id == token, samples.c.digest == digest)
            .order_by(samples.c.created_at, samples.c.sample_id)
            .limit(1)
        )
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def subject_of(self, sample_id: str) -> str | None:
        """Returns the token of the subject that has this sample; None if nobody has it."""
        query = select(samples.c.subject_id).where(samples.c.sample_id == sample_id)
        return (await self._connection.execute(query)).scalar_one_or_none()

    async def listed(self, subject_id: str | None, *, skip: int, limit: int) -> list[tuple[str, str]]:
        """Returns samples in order of their ids, of one subject or of all, each with its subject's token."""
        query = select(samples.c.sample_id, samples.c.subject_id).order_by(samples.c.sample_id)
        query = query.offset(skip).limit(limit)
        if subject_id is not None:
            query = query.where(samples.c.subject_id == await self._keys.ids.token(subject_id))
        return [(sample_id, token) for sample_id, token in await self._connection.execute(query)]

    async def count(self, subject_id: str | None) -> int:
        """Counts the samples of one subject, or of all."""
        query = select(func.count()).select_from(samples)
        if subject_id is not None:
            query = query.where(samples.c.subject_id == await self._keys.ids.token(subject_id))
        return int((await self._connection.execute(query)).scalar_one())

    async def existing(self, sample_ids: Sequence[str]) -> set[str]:
        """Returns those of these samples that exist."""
        query = select(samples.c.sample_id).where(samples.c.sample_id.in_(list(sample_ids)))
        return {row[0] for row in await self._connection.execute(query)}

    async def delete(self, subject_id: str, sample_id: str) -> Erased | None:
        """Deletes one sample, its templates and crops.

        Returns the numbers deleted, or None if the subject has no such sample. Raises OnHold.
        """
        token = await self._keys.ids.token(subject_id)
        await _lock_subject(self._connection, token)
        await refuse_held(self._connection, {token: subject_id})
        templates = await self._log.append_removals(token, sample_id)
        crop_count = await _count_crops(self._connection, token, sample_id)
        erased = delete(samples).where(samples.c.subject_id == token, samples.c.sample_id == sample_id)
        if (await self._connection.execute(erased)).rowcount != 1:
            return None
        return Erased(samples=1, templates=templates, crops=crop_count)
