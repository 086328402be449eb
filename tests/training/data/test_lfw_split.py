"""The fixed split of LFW by identity."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from training.data.lfw import Split, read_lfw, split_of
from training.data.records import DataSetError


@pytest.mark.realdata
def test_the_split_has_the_counts_of_record(shared: Path) -> None:
    tar = shared / "data" / "lfw.tar"
    found = {split: read_lfw(tar, frozenset({split})) for split in Split}
    counts = {split.value: len(identities) for split, identities in found.items()}
    assert counts == {"train": 3909, "validation": 358, "test": 1482}
    names = [identity.name for identities in found.values() for identity in identities]
    assert len(names) == len(set(names)) == 5749
    assert sum(len(identity.photos) for identities in found.values() for identity in identities) == 13233
    assert sum(len(identity.photos) > 1 for identity in found[Split.TEST]) == 429


def test_photos_of_an_identity_come_in_order_and_of_one_split(tmp_path: Path) -> None:
    tar = tmp_path / "lfw.tar"
    names = [f"Person_{i}" for i in range(40)]
    with tarfile.open(tar, "w") as archive:
        for name in names:
            for number in (2, 1):
                entry = tarfile.TarInfo(f"lfw/{name}/{name}_000{number}.jpg")
                data = f"{name} {number}".encode()
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    identities = read_lfw(tar, frozenset({Split.TEST}))
    assert [identity.name for identity in identities] == sorted(n for n in names if split_of(n) is Split.TEST)
    assert identities
    for identity in identities:
        assert [photo.data for photo in identity.photos] == [
            f"{identity.name} 1".encode(),
            f"{identity.name} 2".encode(),
        ]


def test_another_archive_is_refused(tmp_path: Path) -> None:
    tar = tmp_path / "other.tar"
    with tarfile.open(tar, "w"):
        pass
    with pytest.raises(DataSetError, match="LFW"):
        read_lfw(tar, frozenset(Split))
    tar.write_bytes(b"no tar at all")
    with pytest.raises(DataSetError, match="no tar"):
        read_lfw(tar, frozenset(Split))
    with pytest.raises(DataSetError, match="cannot be read"):
        read_lfw(tmp_path / "none.tar", frozenset(Split))
