"""A full disk: enrolment is refused by name, matching goes on, and whoever must be erased is erased."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.store.reserve import NAME, RESERVE_BYTES, DiskReserve
from tests.conftest import StartService, sample_bytes
from tests.service.api.test_errors import enroll, identify, problem

DISK_BYTES, LEFT_BYTES = 48 << 20, 64 << 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with `DISK_BYTES`."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """A file that leaves `LEFT_BYTES` on the disk."""
    left = os.statvfs(place)
    filler = place / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize - LEFT_BYTES)
    return filler


def test_the_reserve_is_kept_given_up_and_kept_again(small_disk: Path) -> None:
    reserve = DiskReserve(small_disk)
    assert reserve.keep()
    assert (small_disk / NAME).stat().st_size == RESERVE_BYTES
    reserve.give_up_if_full()
    assert (small_disk / NAME).exists()
    filler = fill(small_disk)
    reserve.give_up_if_full()
    assert not (small_disk / NAME).exists()
    filler.write_bytes(b"")
    assert reserve.keep()


def test_a_full_disk_refuses_enrolment_and_nothing_else(
    start_service: StartService, small_disk: Path, tmp_path: Path
) -> None:
    service = start_service(data=small_disk / "data", HALFLIGHT_BUNDLES=str(tmp_path / "bundles"))
    with service.client() as client:
        for subject in ("s01", "s02"):
            assert enroll(client, subject, sample_bytes(subject), allow_duplicate="true").status_code == 201
        filler = fill(small_disk)
        refused = None
        for number in range(100):
            answer = enroll(client, f"more-{number}", sample_bytes("s03"), allow_duplicate="true")
            if answer.status_code != 201:
                refused = answer
                break
        assert refused is not None
        problem(refused, 507, "storage_full")
        assert identify(client, sample_bytes("s01")).status_code == 200
        ready = client.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["status"] == "degraded"
        assert "disk" in ready.json()["detail"]
        assert client.delete("/subjects/s01").status_code == 200
        assert client.get("/subjects/s01").status_code == 404
        filler.unlink()
        assert enroll(client, "s04", sample_bytes("s04"), allow_duplicate="true").status_code == 201
        assert client.get("/health/ready").json()["status"] == "ready"
        assert (small_disk / "data" / NAME).stat().st_size == RESERVE_BYTES
