"""The master key under Vault: its file opens nothing alone, and what is wrong is one sentence.

Skipped without the extra `halflight[vault]`. No Vault can be had here: `transit` speaks its API over HTTP.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.sealing.keys import MasterKeyError
from service.sealing.sources import KeyFile, MasterKeys
from service.sealing.vault import VaultAddress, VaultTransit
from service.settings import Settings
from service.store.clear_rows import seal_clear_rows
from service.store.database import Database
from service.store.rotation import rotate_master
from tests.conftest import free_port
from tests.service.sealing.transit import Transit, running_transit

pytest.importorskip("hvac", reason="the extra halflight[vault] is not installed")


@pytest.fixture
def vault() -> Iterator[Transit]:
    with running_transit() as server:
        yield server


def address(vault: Transit, *, mount: str = "transit", namespace: str | None = None) -> VaultAddress:
    return VaultAddress(url=vault.url, key="halflight", token=vault.token, mount=mount, namespace=namespace)


def test_a_key_comes_back_as_it_was_and_its_line_does_not_show_it(vault: Transit) -> None:
    service, key = VaultTransit(address(vault)), os.urandom(32)
    lines = [service.wrap(key) for _ in range(2)]
    for line in lines:
        assert line.startswith("vault:v1:")
        assert key.hex() not in line
        assert service.unwrap(line) == key
    assert lines[0] != lines[1]
    assert vault.asked[0] == "/v1/transit/encrypt/halflight"
    assert vault.asked[-1] == "/v1/transit/decrypt/halflight"
    vault.mounted, vault.namespace = "kms", "team"  # type: ignore[assignment]
    other = VaultTransit(address(vault, mount="kms", namespace="team"))
    assert other.unwrap(lines[0]) == key


def _seal(vault: Transit) -> None:
    vault.sealed = True


def _lose_key(vault: Transit) -> None:
    del vault.keys["halflight"]


def _change_key(vault: Transit) -> None:
    vault.keys["halflight"] = vault.keys["another"]


def _change_token(vault: Transit) -> None:
    vault.token = "another"  # noqa: S105 - of this test alone


def _unmount(vault: Transit) -> None:
    vault.mounted = "elsewhere"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_seal, "sealed"),
        (_lose_key, "its key halflight"),
        (_change_key, "another key wrapped the line"),
        (_change_token, "transit/decrypt/halflight"),
        (_unmount, "no transit engine at transit"),
        (Transit.server_close, "does not answer"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_without_secrets(
    vault: Transit, spoil: Callable[[Transit], None], told: str
) -> None:
    service, key, token = VaultTransit(address(vault)), os.urandom(32), vault.token
    line = service.wrap(key)
    spoil(vault)
    with pytest.raises(MasterKeyError, match=told) as caught:
        service.unwrap(line)
    for secret in (token, line, key.hex()):
        assert secret not in str(caught.value)


def test_a_token_of_a_file_is_read_anew(vault: Transit, tmp_path: Path) -> None:
    file = tmp_path / "token"
    service = VaultTransit(VaultAddress(url=vault.url, key="halflight", token_file=file))
    with pytest.raises(MasterKeyError, match="token cannot be read"):
        service.wrap(os.urandom(32))
    for token in ("first", "second"):
        vault.token = token
        file.write_text(token + "\n")
        assert service.wrap(os.urandom(32)).startswith("vault:")


def settings(vault: Transit, data: Path, *, wrapped: bool = True) -> Settings:
    if not wrapped:
        return Settings(data_dir=data)
    return Settings(data_dir=data, vault_url=vault.url, vault_token=vault.token)


async def opened(chosen: Settings) -> Database:
    db = await Database.open(chosen.sqlalchemy_url, MasterKeys(chosen.key_source))
    try:
        await db.migrate()
    except BaseException:
        await db.close()
        raise
    return db


def contents(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.iterdir()]


async def test_a_database_whose_key_was_in_clear_goes_under_vault_with_the_next_rotation(
    vault: Transit, tmp_path: Path
) -> None:
    file = tmp_path / "master.key"
    db = await opened(settings(vault, tmp_path, wrapped=False))
    await seal_clear_rows(db, lambda *_: None)
    async with db.write() as uow:
        await uow.subjects.ensure("anna", {"desk": 4})
        await uow.commit()
    await db.close()
    (clear,) = file.read_text().split()
    assert vault.asked == []
    db = await opened(settings(vault, tmp_path))
    assert (await rotate_master(db)).subjects == 1
    await db.close()
    (line,) = file.read_text().split()
    assert line.startswith("vault:v1:")
    assert clear not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    db = await opened(settings(vault, tmp_path))
    async with db.read() as uow:
        record = await uow.subjects.get("anna")
    assert record is not None
    assert record.metadata == {"desk": 4}
    raw = VaultTransit(address(vault)).unwrap(line)
    await db.close()
    for content in contents(tmp_path):
        assert raw not in content
        assert raw.hex().encode() not in content
    # Without Vault, the file opens nothing.
    with pytest.raises(MasterKeyError):
        KeyFile(file).read()
    vault.sealed = True
    with pytest.raises(MasterKeyError, match="sealed"):
        await opened(settings(vault, tmp_path))


def test_settings_of_vault_that_say_too_little_or_too_much_are_refused(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for wrong in (
        {"vault_url": url},
        {"vault_url": url, "vault_token": "x", "vault_token_file": tmp_path / "x"},
        {"vault_url": url, "vault_token": "x", "master_key": "5a" * 32},
        {"vault_url": "vault:8200", "vault_token": "x"},
    ):
        with pytest.raises(ValueError, match="vault_"):
            Settings(**wrong)
    assert "x-token" not in repr(Settings(vault_url=url, vault_token="x-token"))  # noqa: S106
