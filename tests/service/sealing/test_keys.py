"""Sealed values open in their place alone; key files are private and written whole."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.sealing.keys import MasterKey, MasterKeyError, SealBroken, SubjectKey
from service.sealing.sources import GivenKeys, KeyFile, MasterKeys


def test_a_sealed_value_opens_in_its_place_and_under_its_key_only() -> None:
    key = SubjectKey.new()
    sealed = key.seal(b"plain", "template", "sample", "space", "7")
    assert key.open(sealed, "template", "sample", "space", "7") == b"plain"
    assert b"plain" not in sealed
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for value, opener, place in (
        (sealed, key, ("template", "sample", "space", "8")),
        (sealed, key, ("crop", "sample", "space", "7")),
        (sealed, SubjectKey.new(), ("template", "sample", "space", "7")),
        (flipped, key, ("template", "sample", "space", "7")),
        (sealed[:8], key, ("template", "sample", "space", "7")),
        (b"", key, ("template", "sample", "space", "7")),
    ):
        with pytest.raises(SealBroken):
            opener.open(value, *place)
    assert len({key.seal(b"plain", "x")[:12] for _ in range(50)}) == 50


def test_a_wrapped_key_opens_for_its_subject_under_its_master_only() -> None:
    master, key = MasterKey(os.urandom(32)), SubjectKey.new()
    wrapped = master.wrap("anna", key)
    again = master.unwrap("anna", key.key_id, wrapped)
    assert again.open(key.seal(b"x", "y"), "y") == b"x"
    for other, subject, key_id in (
        (master, "bert", key.key_id),
        (master, "anna", SubjectKey.new().key_id),
        (MasterKey(os.urandom(32)), "anna", key.key_id),
    ):
        with pytest.raises(SealBroken):
            other.unwrap(subject, key_id, wrapped)


def test_pseudonyms_are_of_the_key() -> None:
    one, other = SubjectKey.new(), SubjectKey.new()
    assert one.pseudonym("anna") == one.pseudonym("anna")
    assert len({one.pseudonym("anna"), one.pseudonym("bert"), other.pseudonym("anna")}) == 3


def test_the_key_file_is_made_once_and_private_to_its_owner(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = {
            one.key_id
            for one in pool.map(lambda _: MasterKeys(KeyFile(tmp_path / "master.key")).create(), range(16))
        }
    assert len(made) == 1
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert MasterKeys(GivenKeys(file.read_text())).load()[0].key_id in made


@pytest.mark.parametrize("text", ["", "zz", "ab" * 31, "ab" * 33, "ab" * 32 + ",zz"])
def test_an_invalid_key_is_refused_without_showing_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "master.key").write_text(text.replace(",", "\n"))
    for source in (GivenKeys(text), KeyFile(tmp_path / "master.key")):
        with pytest.raises(MasterKeyError) as caught:
            MasterKeys(source).load()
        assert not text or text not in str(caught.value)


def test_a_key_that_another_process_added_is_found(tmp_path: Path) -> None:
    held = MasterKeys(KeyFile(tmp_path / "master.key"))
    old, new = held.create(), MasterKey(os.urandom(32))
    KeyFile(tmp_path / "master.key").write([new.raw, old.raw])
    assert held.find(new.key_id).raw == new.raw
    with pytest.raises(MasterKeyError, match="does not hold"):
        held.find("0" * 16)
