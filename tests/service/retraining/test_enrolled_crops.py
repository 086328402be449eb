"""Enrolled crops on their way to training: sealed in the database, numbered in the job, paired there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update

from faces.enrolled import read_enrolled
from faces.types import AlignedCrop, Pixels, Spectrum
from service.crops import encode_crops
from service.retraining.enrolled_crops import EnrolledCrops
from service.store.database import Database
from service.store.records import NewSample
from service.store.tables import crops, samples
from tests.service.store.support import KEYS, new_sample
from training.data.pairs import paired_subjects
from training.data.records import DataSetError
from training.jobs.enrolled_set import enrolled_set

ALIGNMENT = "arcface-112"


def crop(number: int) -> Pixels:
    return np.random.default_rng(number).integers(0, 256, (112, 112, 3)).astype(np.uint8)


async def enrol(db: Database, subject: str, spectra: str, first: int) -> None:
    async with db.write() as uow:
        await uow.subjects.ensure(subject, None)
        for number, letter in enumerate(spectra, first):
            spectrum = Spectrum.NIR if letter in "nN" else Spectrum.VIS
            facts = {field: getattr(new_sample(subject), field) for field in NewSample.__slots__}
            facts |= {"spectrum": spectrum, "masked": letter == "N"}
            sample_id = await uow.samples.add(NewSample(**facts))
            aligned = AlignedCrop(crop(number), ALIGNMENT, 35.0, spectrum)
            await uow.crops.add(sample_id, encode_crops([aligned]))
        await uow.commit()


async def test_enrolled_crops_become_a_training_set(tmp_path: Path) -> None:
    db = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}", KEYS)
    await db.migrate()
    await enrol(db, "with-nir", "vnN", 0)
    await enrol(db, "two-vis", "vv", 10)
    await enrol(db, "one-vis", "v", 20)
    await enrol(db, "damaged", "vv", 30)
    async with db.write() as uow:
        damaged = select(samples.c.sample_id).where(
            samples.c.subject_id == await uow.subject_keys.ids.token("damaged")
        )
        await uow.connection.execute(
            update(crops).where(crops.c.sample_id.in_(damaged)).values(sealed=bytes(999))
        )
        await uow.commit()
    place = tmp_path / "private" / "enrolled"
    await EnrolledCrops(db).write(place, ALIGNMENT)
    await db.close()

    assert place.stat().st_mode & 0o077 == 0
    assert not any(b"with-nir" in path.read_bytes() for path in place.iterdir())
    alignment, rows = read_enrolled(place)
    arrived = list(rows)
    assert alignment == ALIGNMENT
    assert len(arrived) == 6
    for _, pixels in arrived:
        assert any(np.array_equal(pixels, crop(number)) for number in (0, 1, 2, 10, 11, 20))

    made = enrolled_set(place, tmp_path / "set")
    pairs = {subject.name: subject for subject in paired_subjects(made, "train")}
    assert len(pairs) == 2
    real = next(s for s in pairs.values() if len(s.vis) == 1)
    drawn = next(s for s in pairs.values() if len(s.vis) == 2)
    assert all(made.rows[i].generator is None for i in real.nir + real.nir_masked)
    assert all(made.rows[i].generator == "pseudo-NIR" for i in drawn.nir + drawn.nir_masked)
    assert (len(drawn.nir), len(drawn.nir_masked)) == (2, 2)
    assert made.info.synthetic is not None
    assert enrolled_set(place, tmp_path / "set").rows == made.rows


def test_half_written_crops_are_refused(tmp_path: Path) -> None:
    (tmp_path / "crops-00000.npy").write_bytes(b"")
    with pytest.raises(DataSetError, match="whole"):
        enrolled_set(tmp_path, tmp_path / "set")
