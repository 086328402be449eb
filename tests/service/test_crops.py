from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from faces.align import ALIGNMENTS
from faces.types import AlignedCrop, Spectrum
from service.crops import CropKeyError, CropUnreadable, CropVault, open_vault
from service.store.database import Database
from service.store.records import StoredCrop
from tests.service.store.support import new_sample


def crop(alignment: str = "arcface-112") -> AlignedCrop:
    side = ALIGNMENTS[alignment].side_px
    pixels = np.random.default_rng(3).integers(0, 255, (side, side, 3), np.uint8)
    return AlignedCrop(pixels, alignment, 61.5, Spectrum.VIS)


def stored(sealing: CropVault, sample_id: str = "sample") -> StoredCrop:
    (sealed,) = sealing.seal(sample_id, [crop()])
    return StoredCrop(sealed.alignment, sealed.key_id, sealed.sealed, sample_id, Spectrum.VIS, 61.5)


def test_a_sealed_crop_opens_unchanged() -> None:
    own = CropVault(os.urandom(32))
    opened = own.open(stored(own))
    assert np.array_equal(opened.pixels, crop().pixels)
    assert (opened.alignment_id, opened.spectrum, opened.inter_eye_px) == ("arcface-112", Spectrum.VIS, 61.5)


def test_a_crop_opens_only_for_its_sample_alignment_and_key() -> None:
    own = CropVault(os.urandom(32))
    whole = stored(own)
    flipped = bytes([whole.sealed[0] ^ 1]) + whole.sealed[1:]
    for wrong in (
        replace(whole, sample_id="another"),
        replace(whole, alignment="arcface-144"),
        replace(whole, sealed=flipped),
        replace(whole, sealed=whole.sealed[:-1]),
        replace(whole, sealed=b""),
    ):
        with pytest.raises(CropUnreadable, match="changed"):
            own.open(wrong)
    with pytest.raises(CropUnreadable, match="another key"):
        CropVault(os.urandom(32)).open(whole)


def test_sealing_a_crop_twice_gives_different_bytes() -> None:
    own = CropVault(os.urandom(32))
    assert len({stored(own).sealed[:12] for _ in range(50)}) == 50


def test_the_key_file_is_made_once_and_private_to_its_owner(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = {made.key_id for made in pool.map(lambda _: open_vault(None, tmp_path), range(16))}
    assert len(ids) == 1
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert open_vault(text, tmp_path / "nowhere").key_id in ids
    assert text.strip() not in ids


@pytest.mark.parametrize("text", ["", "zz", "ab" * 31, "ab" * 33])
def test_an_invalid_key_is_refused_without_showing_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "crop.key").write_text(text)
    for given in (text, None):
        with pytest.raises(CropKeyError) as caught:
            open_vault(given, tmp_path)
        assert not text or text not in str(caught.value)


async def test_crops_are_erased_past_their_retention_or_if_none_are_kept(db: Database) -> None:
    own = CropVault(os.urandom(32))
    async with db.write() as uow:
        await uow.subjects.ensure("anna", None)
        for _ in range(3):
            sample_id = await uow.samples.add(new_sample("anna"))
            await uow.crops.add(sample_id, own.seal(sample_id, [crop(), crop("arcface-144")]))
            made = (await uow.crops.of_samples([sample_id], "arcface-112"))[sample_id]
            assert np.array_equal(own.open(made).pixels, crop().pixels)
        await uow.commit()
    await asyncio.sleep(0.05)
    async with db.write() as uow:
        assert await uow.crops.purge(datetime.now(UTC) - timedelta(days=1)) == 0
        assert await uow.crops.count_under_other_keys(own.key_id) == 0
        assert await uow.crops.count_under_other_keys("another") == 6
        assert await uow.crops.purge(datetime.now(UTC) - timedelta(seconds=0.01)) == 6
    async with db.write() as uow:
        assert await uow.crops.purge(None) == 6
        await uow.commit()
    async with db.read() as uow:
        assert await uow.samples.of_subject("anna")
        assert await uow.crops.count_under_other_keys("another") == 0
