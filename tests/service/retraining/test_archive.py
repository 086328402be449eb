"""Archives from outside: what is taken, and every way to be refused without a trace outside the target."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from service.retraining.archive import ArchiveError, ArchiveLimits, DiskFull, Unpacked
from service.retraining.unpack import unpack

LIMITS = ArchiveLimits(files=10, file_bytes=4000, bytes=20_000, reserve_bytes=0)
PICTURES = {"a/vis/1.png": b"one" * 500, "a/nir/1.png": b"two", "b/vis/1.png": b""}
LITTER = {"a/notes.txt": b"x", "__MACOSX/a/vis/1.png": b"x", "a/vis/.1.png": b"x"}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
    return out.getvalue()


PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zipped,
    "tar": tarred,
    "gzip": lambda files: gzip.compress(tarred(files)),
    "bzip2": lambda files: bz2.compress(tarred(files)),
    "xz": lambda files: lzma.compress(tarred(files)),
}


def taken(place: Path, data: bytes, limits: ArchiveLimits = LIMITS) -> Unpacked:
    (place / "archive").write_bytes(data)
    target = place / "in" / "target"
    target.mkdir(parents=True, exist_ok=True)
    return unpack(place / "archive", target, limits, wanted=lambda name: name.endswith(".png"))


def refused(place: Path, data: bytes, told: str, limits: ArchiveLimits = LIMITS) -> None:
    with pytest.raises(ArchiveError, match=told) as error:
        taken(place, data, limits)
    assert str(place) not in str(error.value)
    outside = [path for path in place.rglob("*") if not path.is_relative_to(place / "in" / "target")]
    assert sorted(path.name for path in outside) == ["archive", "in"]
    assert not any(path.is_symlink() for path in place.rglob("*"))


@pytest.mark.parametrize("kind", PACKERS)
def test_photos_are_unpacked_and_litter_is_ignored(tmp_path: Path, kind: str) -> None:
    out = taken(tmp_path, PACKERS[kind](PICTURES | LITTER))
    assert (out.files, out.bytes, out.ignored) == (3, 1503, 3)
    target = tmp_path / "in" / "target"
    assert {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*.png")} == PICTURES


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize(
    "name",
    ["../1.png", "a/../../1.png", "/tmp/1.png", "a\\..\\..\\1.png", "C:\\1.png", "a/\n.png"],  # noqa: S108
)
def test_a_path_out_of_the_target_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    refused(tmp_path, PACKERS[kind]({"a/1.png": b"x", name: b"x"}), "entry's name")


@pytest.mark.parametrize("kind", PACKERS)
def test_the_limits_of_file_count_and_bytes_hold(tmp_path: Path, kind: str) -> None:
    cases = {
        "10 files": {f"{n}.png": b"x" for n in range(11)},
        "4000 bytes": {"1.png": bytes(4001)},
        "20000 bytes": {f"{n}.png": bytes(3000) for n in range(8)},
        "no picture": {"bomb.txt": bytes(50_000)},
    }
    for told, files in cases.items():
        place = tmp_path / told
        place.mkdir()
        refused(place, PACKERS[kind](files), told)


@pytest.mark.parametrize("kind", PACKERS)
def test_a_truncated_archive_is_refused(tmp_path: Path, kind: str) -> None:
    whole = PACKERS[kind]({"1.png": bytes(range(256)) * 12, "2.png": bytes(range(255, -1, -1)) * 12})
    for number, keep in enumerate((len(whole) // 3, len(whole) // 2, 20)):
        place = tmp_path / str(number)
        place.mkdir()
        refused(place, whole[:keep], "cut off|neither a zip")
    (tmp_path / "none").mkdir()
    refused(tmp_path / "none", b"no archive at all " * 100, "neither a zip")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        entry = tarfile.TarInfo("a/1.png")
        entry.type, entry.linkname = kind, "/etc/passwd"
        made.addfile(entry)
    refused(tmp_path, out.getvalue(), "only plain files")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        entry = zipfile.ZipInfo("a/1.png")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(entry, "/etc/passwd")
    refused(tmp_path, out.getvalue(), "only plain files")


def test_two_entries_with_one_name_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, tarred({"a.png": b"x", "a.png/b.png": b"x"}), "one name")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for _ in range(2):
            made.addfile(tarfile.TarInfo("1.png"))
    (tmp_path / "twice").mkdir()
    refused(tmp_path / "twice", out.getvalue(), "one name")


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("pax")
    entry.type, entry.size = tarfile.XHDTYPE, 1 << 33
    refused(tmp_path, gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(2048)), "too large")


def test_a_directory_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    made = bytearray(zipped(PICTURES))
    end = made.rfind(b"PK\x05\x06")
    made[end + 12 : end + 16] = (1 << 31).to_bytes(4, "little")
    refused(tmp_path, bytes(made), "10 files")


def test_unpacking_keeps_the_disk_reserve_free(tmp_path: Path) -> None:
    with pytest.raises(DiskFull):
        taken(tmp_path, zipped(PICTURES), ArchiveLimits(reserve_bytes=1 << 62))


def test_a_full_disk_raises_disk_full(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        (tmp_path / "archive").write_bytes(tarred({f"{n}.png": os.urandom(20_000) for n in range(5)}))
        roomy = ArchiveLimits(reserve_bytes=-(1 << 20))
        with pytest.raises(DiskFull):
            unpack(tmp_path / "archive", small, roomy, wanted=lambda _: True)
    finally:
        subprocess.run(["umount", str(small)], check=True)


PACKED = ("zip", "gzip", "bzip2", "xz")
ROOMY = ArchiveLimits(files=100, file_bytes=1 << 20, bytes=1 << 30, reserve_bytes=0, ratio_from_bytes=100_000)


@pytest.mark.parametrize("kind", PACKED)
def test_what_shrinks_more_than_photos_do_is_refused(tmp_path: Path, kind: str) -> None:
    blown = {f"a/vis/{number}.png": bytes(1 << 20) for number in range(8)}
    refused(tmp_path, PACKERS[kind](blown), "20 times its bytes", ROOMY)


@pytest.mark.parametrize("kind", PACKED)
def test_entries_that_are_left_out_count_as_well(tmp_path: Path, kind: str) -> None:
    blown = {"a/vis/1.png": b"one"} | {f"a/{number}.bin": bytes(1 << 20) for number in range(8)}
    refused(tmp_path, PACKERS[kind](blown), "20 times its bytes", ROOMY)


@pytest.mark.parametrize("kind", PACKERS)
def test_photos_of_any_kind_pass_the_ratio(tmp_path: Path, kind: str) -> None:
    rng = random.Random(1)
    photos = {f"a/vis/{number}.png": rng.randbytes(200_000) + bytes(200_000) for number in range(8)}
    assert taken(tmp_path, PACKERS[kind](photos), ROOMY).files == 8


@pytest.mark.parametrize("kind", PACKERS)
def test_an_archive_within_an_archive_stays_packed_and_is_left_out(tmp_path: Path, kind: str) -> None:
    inner = PACKERS[kind](PICTURES)
    out = taken(
        tmp_path, PACKERS[kind]({"a/vis/1.png": b"one", "a/inner.zip": inner, "a/vis/inner.tgz": inner})
    )
    assert (out.files, out.ignored) == (1, 2)


def test_entries_of_a_zip_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """The directory names one packed entry many times."""
    data = zipped({"a/vis/0000.png": bytes(1 << 20)})
    start = data.rindex(b"PK\x01\x02")
    entry, end = data[start : data.rindex(b"PK\x05\x06")], bytearray(data[data.rindex(b"PK\x05\x06") :])
    count = 90
    directory = b"".join(entry.replace(b"/0000.png", b"/%04d.png" % number) for number in range(count))
    end[8:10] = end[10:12] = count.to_bytes(2, "little")
    end[12:16] = len(directory).to_bytes(4, "little")
    refused(tmp_path, data[:start] + directory + bytes(end), "20 times its bytes", ROOMY)


def test_a_directory_that_points_before_the_archive_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped(PICTURES))
    end = data.rindex(b"PK\x05\x06")
    data[end + 16 : end + 20] = (0xFFFF_0000).to_bytes(4, "little")
    refused(tmp_path, bytes(data), "cut off or damaged")
