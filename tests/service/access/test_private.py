"""The data directory is for the service's own user, whatever the umask and whatever lay there before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import StartService, sample_bytes
from tests.service.api.test_access import make_key
from tests.service.api.test_errors import enroll


def open_to_others(directory: Path) -> list[str]:
    return [str(path) for path in (directory, *directory.rglob("*")) if path.lstat().st_mode & 0o077]


@pytest.fixture
def open_umask() -> None:
    os.umask(0)


@pytest.mark.usefixtures("open_umask")
def test_no_file_of_a_running_service_is_for_others(start_service: StartService, tmp_path: Path) -> None:
    data = tmp_path / "private"
    data.mkdir(mode=0o777)
    (data / "halflight.db").touch(mode=0o666)
    key = make_key(data, "operator")
    service = start_service(data=data)
    with service.client(key) as client:
        assert enroll(client, "a", sample_bytes("s01")).status_code == 201
        assert {path.name for path in data.iterdir()} >= {"halflight.db", "halflight.db-wal", "master.key"}
        assert open_to_others(data) == []
    service.stop()
    assert open_to_others(data) == []
