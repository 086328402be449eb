"""What stops a start is said in one sentence; what stops the log stops nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Service, free_port, sample_bytes
from tests.service.api.test_errors import enroll, identify
from tests.service.cli.command import HALFLIGHT, environment, fails, succeeds

LONGEST_REASON = 3


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A data directory with a database, on a file system that takes no writes."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    succeeds("keys", "create", "--role", "admin", "--data", place / "data")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.slow
def test_a_read_only_file_system_stops_the_start_with_a_sentence(read_only: Path, bundle_dir: Path) -> None:
    for data in (read_only / "data", read_only / "none"):
        result = fails(2, "serve", "--port", "0", "--data", data, expected=["ead-only"])
        assert len(result.err.splitlines()) <= LONGEST_REASON
        fails(1, "keys", "create", "--role", "admin", "--data", data, expected=["ead-only"])


def test_a_stopped_postgresql_stops_the_start_with_a_sentence(tmp_path: Path, bundle_dir: Path) -> None:
    url = f"postgresql://someone:pass4711word@127.0.0.1:{free_port()}/none"
    command = ["serve", "--port", "0", "--data", str(tmp_path / "data"), "--database-url", url]
    result = fails(2, *command, expected=["the database cannot be opened"])
    assert len(result.err.splitlines()) <= LONGEST_REASON
    assert "pass4711word" not in result.err


def test_a_full_log_disk_fails_no_request(tmp_path: Path, bundle_dir: Path) -> None:
    service = Service(tmp_path / "data")
    command = [*HALFLIGHT, "serve", "--port", str(service.port), "--data", str(service.data)]
    with Path("/dev/full").open("w") as full:
        service.process = subprocess.Popen(command, env=environment(), stdout=full, stderr=full, text=True)
    service.log = tmp_path / "none.log"
    service.log.touch()
    try:
        service.wait_ready()
        with service.client() as client:
            assert enroll(client, "anna", sample_bytes("s01")).status_code == 201
            for _ in range(20):
                assert identify(client, sample_bytes("s01")).status_code == 200
                assert client.get("/nowhere").status_code == 404
            lost = next(
                line for line in client.get("/metrics").text.splitlines() if line.startswith("halflight_lost")
            )
            assert float(lost.split()[1]) >= 41
        assert service.stop() == 0
    finally:
        if service.process is not None and service.process.poll() is None:
            service.kill()
