"""Tests settings that come as files of a directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_settings import SettingsError

from service.sealing.secret_files import SecretFileError, read_secret_files
from service.settings import Settings

URL = "postgresql://halflight:xyzzy@postgres/halflight"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALFLIGHT_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_files_set_what_they_are_named_after(secrets: Path) -> None:
    (secrets / "database_url").write_text(f"{URL}\n")
    (secrets / "master_key").write_text("ab" * 32 + "\n")
    (secrets / "audit_key").write_text("\n")  # empty: as an empty variable, not given
    (secrets / "..data").mkdir()
    settings = Settings()
    assert settings.database_url == URL
    assert settings.master_key is not None
    assert settings.master_key.get_secret_value() == "ab" * 32
    assert settings.audit_key is None


def test_an_option_stands_above_a_file(secrets: Path) -> None:
    (secrets / "database_url").write_text(URL)
    assert Settings(database_url="sqlite+aiosqlite:///x").database_url == "sqlite+aiosqlite:///x"


@pytest.mark.parametrize("name", ["master-key", "MASTER_KEY", "port", "tls.pem"])
def test_a_file_that_sets_nothing_stops_the_start(secrets: Path, name: str) -> None:
    (secrets / name).write_text("1234")
    with pytest.raises(SettingsError, match=f"{name} is no secret of the service") as raised:
        Settings()
    assert "1234" not in str(raised.value)


def test_a_secret_that_is_given_twice_stops_the_start(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "database_url").write_text(URL)
    monkeypatch.setenv("HALFLIGHT_DATABASE_URL", "postgresql://other")
    with pytest.raises(SettingsError, match="HALFLIGHT_DATABASE_URL is set, and a file"):
        Settings()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError, match="gone cannot be read: No such file"):
        read_secret_files(tmp_path / "gone", {"master_key"})
    (tmp_path / "master_key").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SecretFileError, match="no text"):
        read_secret_files(tmp_path, {"master_key"})
