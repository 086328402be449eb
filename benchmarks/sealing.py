"""What sealing costs: loading a gallery beside a plain read of as many bytes, and the writes of an enrolment.

    python -m benchmarks.sealing --templates 20000

Prints the time for each template. The plain read fetches rows of the same size and opens nothing; the
clear enrolment writes the same rows with the seals replaced by their plain bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
from sqlalchemy import select

from faces.types import Spectrum
from service.sealing.keys import SubjectKey
from service.sealing.sources import KeyFile, MasterKeys
from service.store.database import Database
from service.store.records import EncodedCrop, NewSample
from service.store.tables import templates

SPACE, DIMENSION, CROP_BYTES = "sp-benchmark", 512, 24_000
AT_ONCE, ENROLMENTS = 1000, 300


Spent = tuple[float, float]


def now() -> Spent:
    """Seconds: by the clock, and of all processors for this process."""
    return time.perf_counter(), time.process_time()


def since(start: Spent) -> Spent:
    wall, cpu = now()
    return wall - start[0], cpu - start[1]


def sample(subject_id: str) -> NewSample:
    return NewSample(
        subject_id=subject_id,
        digest="0" * 64,
        spectrum=Spectrum.VIS,
        masked=False,
        mask_probability=0.0,
        quality_score=90,
        inter_eye_px=60.0,
        source_width=640,
        source_height=480,
    )


async def enrol_all(db: Database, prefix: str, count: int, at_once: int, *, crops: bool) -> Spent:
    """Enrols subjects with a template each, and two crops; returns the time."""
    vector = np.full(DIMENSION, DIMENSION**-0.5, np.float32)
    kept = [EncodedCrop(name, bytes(CROP_BYTES)) for name in ("arcface-112", "arcface-144")]
    started = now()
    for first in range(0, count, at_once):
        async with db.write() as uow:
            for number in range(first, min(count, first + at_once)):
                await uow.subjects.ensure(f"{prefix}{number}", {"number": number})
                sample_id = await uow.samples.add(sample(f"{prefix}{number}"))
                if crops:
                    await uow.crops.add(sample_id, kept)
                await uow.templates.add(SPACE, sample_id, vector)
            await uow.commit()
    return since(started)


class ClearKey(SubjectKey):
    """Seals nothing, for the comparison."""

    def seal(self, plain: bytes, kind: str, *place: str) -> bytes:  # noqa: ARG002 - as SubjectKey has it
        return bytes(28) + plain


async def run(count: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        keys = MasterKeys(KeyFile(Path(place) / "master.key"))
        db = await Database.open(f"sqlite+aiosqlite:///{Path(place) / 'halflight.db'}", keys)
        await db.migrate()
        async with db.write() as uow:
            await uow.spaces.register(SPACE, "bundle", DIMENSION, "active")
            await uow.commit()
        await enrol_all(db, "g", count, AT_ONCE, crops=False)
        for name, read in (("plain read", plain_read), ("opened", opened)):
            wall, cpu = min([await read(db) for _ in range(3)])
            each = f"{wall / count * 1e6:.1f} us, of the processors {cpu / count * 1e6:.1f} us"
            print(f"{name}: {count} templates, each {each}")
        sealed = await enrol_all(db, "s", ENROLMENTS, 1, crops=True)
        clear_keys = classmethod(lambda _cls: ClearKey("0" * 32, bytes(32)))
        with patch.object(SubjectKey, "new", clear_keys):
            clear = await enrol_all(db, "c", ENROLMENTS, 1, crops=True)
        for name, seconds in (("sealed", sealed), ("clear", clear)):
            wall, cpu = (1e3 * part / ENROLMENTS for part in seconds)
            print(f"{name} enrolment: {wall:.2f} ms for its transaction, of the processors {cpu:.2f} ms")
        await db.close()


async def plain_read(db: Database) -> Spent:
    started = now()
    async with db.read() as uow:
        query = select(templates.c.template_id, templates.c.vector).where(templates.c.space_id == SPACE)
        result = await uow.connection.stream(query)
        joined = bytearray()
        async for rows in result.partitions(2000):
            joined += b"".join([data for _, data in rows])
    return since(started)


async def opened(db: Database) -> Spent:
    started = now()
    async with db.read() as uow:
        await uow.log.snapshot(SPACE)
    return since(started)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--templates", type=int, default=20_000)
    asyncio.run(run(parser.parse_args().templates))
