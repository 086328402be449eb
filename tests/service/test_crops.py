from __future__ import annotations

import asyncio
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import update

from faces.align import ALIGNMENTS
from faces.types import AlignedCrop, Spectrum
from service.crops import CropKeyError, CropUnreadable, OldCropKey, decode_crop, encode_crops
from service.store.database import Database
from service.store.tables import crops
from tests.service.store.support import new_sample


def crop(alignment: str = "arcface-112") -> AlignedCrop:
    side = ALIGNMENTS[alignment].side_px
    pixels = np.random.default_rng(3).integers(0, 255, (side, side, 3), np.uint8)
    return AlignedCrop(pixels, alignment, 61.5, Spectrum.VIS)


async def kept(db: Database, subject_id: str) -> str:
    """A sample with two crops."""
    async with db.write() as uow:
        await uow.subjects.ensure(subject_id, None)
        sample_id = await uow.samples.add(new_sample(subject_id))
        await uow.crops.add(sample_id, encode_crops([crop(), crop("arcface-144")]))
        await uow.commit()
    return sample_id


async def test_a_kept_crop_opens_unchanged_and_lies_sealed(db: Database) -> None:
    sample_id = await kept(db, "anna")
    async with db.read() as uow:
        opened = decode_crop((await uow.crops.of_samples([sample_id], "arcface-112"))[sample_id])
        rows = (await uow.connection.execute(crops.select())).all()
    assert np.array_equal(opened.pixels, crop().pixels)
    assert (opened.alignment_id, opened.spectrum, opened.inter_eye_px) == ("arcface-112", Spectrum.VIS, 61.5)
    assert len(rows) == 2
    # The whole signature: three bytes alone stand in random ones now and then.
    assert not any(b"\x89PNG\r\n\x1a\n" in row.sealed for row in rows)


async def test_a_crop_opens_only_for_its_sample_and_alignment(db: Database) -> None:
    anna, bert, also = await kept(db, "anna"), await kept(db, "bert"), await kept(db, "anna")
    async with db.read() as uow:
        rows = {(r.sample_id, r.alignment): r.sealed for r in await uow.connection.execute(crops.select())}
    whole = rows[anna, "arcface-112"]
    for wrong in (
        rows[bert, "arcface-112"],
        rows[also, "arcface-112"],
        rows[anna, "arcface-144"],
        bytes([whole[0] ^ 1]) + whole[1:],
        whole[:-1],
        b"",
    ):
        async with db.write() as uow:
            place = update(crops).where(crops.c.sample_id == anna, crops.c.alignment == "arcface-112")
            await uow.connection.execute(place.values(sealed=wrong))
            stored = (await uow.crops.of_samples([anna], "arcface-112"))[anna]
        with pytest.raises(CropUnreadable, match="changed"):
            decode_crop(stored)


@pytest.mark.parametrize("text", ["", "zz", "ab" * 31, "ab" * 33])
def test_an_invalid_old_key_is_refused_without_showing_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "crop.key").write_text(text)
    for given in (text, None):
        with pytest.raises(CropKeyError) as caught:
            OldCropKey(given, tmp_path)
        assert not text or text not in str(caught.value)


def test_a_crop_of_an_older_release_opens_under_its_key_alone(tmp_path: Path) -> None:
    key, nonce = os.urandom(32), os.urandom(12)
    key_id = hashlib.sha256(b"halflight crop key\0" + key).hexdigest()[:16]
    sealed = nonce + AESGCM(key).encrypt(nonce, b"png", b"halflight crop 1|sample|arcface-112")
    (tmp_path / "crop.key").write_text(key.hex() + "\n")
    old = OldCropKey(None, tmp_path)
    assert old.open("sample", "arcface-112", key_id, sealed) == b"png"
    assert old.open("another", "arcface-112", key_id, sealed) is None
    assert old.open("sample", "arcface-112", "0" * 16, sealed) is None
    old.discard()
    assert not (tmp_path / "crop.key").exists()
    assert OldCropKey(None, tmp_path).open("sample", "arcface-112", key_id, sealed) is None


async def test_crops_are_erased_past_their_retention_or_if_none_are_kept(db: Database) -> None:
    for _ in range(3):
        await kept(db, "anna")
    await asyncio.sleep(0.05)
    async with db.write() as uow:
        assert await uow.crops.purge(datetime.now(UTC) - timedelta(days=1)) == 0
        assert await uow.crops.count_under_other_keys() == 0
        assert await uow.crops.purge(datetime.now(UTC) - timedelta(seconds=0.01)) == 6
    async with db.write() as uow:
        assert await uow.crops.purge(None) == 6
        await uow.commit()
    async with db.read() as uow:
        assert await uow.samples.of_subject("anna")
