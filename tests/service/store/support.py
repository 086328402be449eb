"""Helpers of the store tests: create samples, follow the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.types import Spectrum
from service.sealing.sources import GivenKeys, KeyFile, MasterKeys
from service.store.database import Database
from service.store.records import LogEntry, NewSample
from service.store.unit import UnitOfWork

KEYS = MasterKeys(GivenKeys("5a" * 32))
SPACE, OTHER = "sp-one", "sp-two"
D = 8


def vector(seed: int, dimension: int = D) -> NDArray[np.float32]:
    row = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return np.asarray(row / np.linalg.norm(row), np.float32)


def new_sample(subject_id: str, digest: str = "0" * 64) -> NewSample:
    return NewSample(
        subject_id=subject_id,
        digest=digest,
        spectrum=Spectrum.VIS,
        masked=False,
        mask_probability=0.25,
        quality_score=80,
        inter_eye_px=61.5,
        source_width=640,
        source_height=480,
    )


async def enrol(uow: UnitOfWork, subject_id: str, *vectors: NDArray[np.float32]) -> list[int]:
    """Adds a sample for each vector in the transaction of the caller; returns the template ids."""
    await uow.subjects.ensure(subject_id, None)
    made = []
    for one in vectors:
        sample_id = await uow.samples.add(new_sample(subject_id))
        made.append(await uow.templates.add(SPACE, sample_id, one))
    return made


async def enrolled(db: Database, subject_id: str, *vectors: NDArray[np.float32]) -> list[int]:
    async with db.write() as uow:
        made = await enrol(uow, subject_id, *vectors)
        await uow.commit()
    return made


async def token_of(db: Database, subject_id: str) -> str:
    """What stands for the subject in every table."""
    async with db.read() as uow:
        return await uow.subject_keys.ids.token(subject_id)


async def whole_log(db: Database, space_id: str = SPACE) -> list[LogEntry]:
    async with db.read() as uow:
        return await uow.log.tail(space_id, 0, 1_000_000)


def replay(entries: list[LogEntry]) -> set[int]:
    """Returns the templates that a gallery holds after the whole log."""
    held: set[int] = set()
    for entry in entries:
        if entry.op == "remove":
            held.discard(entry.template_id)
        elif entry.vector is not None:
            held.add(entry.template_id)
    return held


def logged(entries: list[LogEntry]) -> set[int]:
    """Returns the templates that the log alone implies, whatever the table of templates holds."""
    held: set[int] = set()
    for entry in entries:
        (held.add if entry.op == "add" else held.discard)(entry.template_id)
    return held


def samples_by_subject(url: str, data: Path) -> dict[str, int]:
    """The number of samples of every subject, by its id, as the database holds them."""

    async def read() -> dict[str, int]:
        db = await Database.open(url, MasterKeys(KeyFile(data / "master.key")))
        try:
            async with db.read() as uow:
                return {one.subject_id: one.sample_count for one in await uow.subjects.page(None, 10_000)}
        finally:
            await db.close()

    return asyncio.run(read())
