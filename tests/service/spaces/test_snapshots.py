"""Snapshots of galleries: a start from one is a start from the database, and no erased template is in one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, select, text, update

from faces.bundle import Manifest, read
from service.gallery.rows import KEY_BYTES
from service.gallery.segments import Segment
from service.sealing.sources import KeyFile, MasterKeys
from service.settings import builtin_bundle
from service.spaces.snapshot_files import HEAD, Part, SnapshotFiles
from service.spaces.snapshots import GallerySnapshots
from service.spaces.space import EmbeddingSpace
from service.store import tables
from service.store.database import Database
from service.store.rotation import rotate_master
from service.store.snapshot_keys import SnapshotKey
from service.store.tables import gallery_log, snapshot_keys
from service.subjects.residue import Trace, search
from tests.service.gallery.vectors import spread
from tests.service.spaces.galleries import agrees, enrol, erase, opened, register, skip_ids

MANIFEST = read(builtin_bundle()).manifest
SPACE, WIDTH = MANIFEST.space_id, MANIFEST.encoder.dimension
KILLS = 6


class Disk:
    """The data directory of one replica, and how its galleries were filled."""

    def __init__(self, db: Database, directory: Path) -> None:
        self.db, self.directory, self.ways = db, directory / "gallery", list[str]()

    def snapshots(self) -> GallerySnapshots:
        return GallerySnapshots(self.db, self.directory, least=1, count=self.ways.append)

    async def start(self, block_rows: int = 65_536) -> EmbeddingSpace:
        space = opened(MANIFEST, self.directory, self.snapshots(), block_rows)
        await space.follow(self.db)
        return space

    async def write(self, space: EmbeddingSpace) -> bool:
        assert space.snapshots is not None
        try:
            return await space.snapshots.write(space)
        finally:
            space.snapshots.close()


@pytest.fixture
async def disk(db: Database, tmp_path: Path) -> Disk:
    await register(db, MANIFEST)
    return Disk(db, tmp_path / "data")


async def shown(db: Database, directory: Path) -> set[int]:
    """The ids of templates in all segments below a directory that open with any key of the database."""
    async with db.read() as uow:
        keys = await uow.snapshots.segments(SPACE)
    return _shown(directory, keys)


def _shown(directory: Path, keys: dict[int, SnapshotKey]) -> set[int]:
    found: set[int] = set()
    for path in directory.rglob("*.segment"):
        files, part = SnapshotFiles(path.parent, SPACE), Part(path.name, "", ())
        for number, key in keys.items():
            with suppress(ValueError):
                (one,) = files.read_segments({number: part}, {number: key}, WIDTH)
                found |= set(one.ids.tolist())
    return found


async def two_segments(db: Database) -> dict[int, int]:
    made = await enrol(db, MANIFEST, range(12))
    await skip_ids(db, 8190)
    return made | await enrol(db, MANIFEST, range(12, 24))


@pytest.mark.parametrize("block_rows", [8, 65_536])
async def test_a_start_from_a_snapshot_and_the_tail_finds_what_brute_force_finds(
    disk: Disk, block_rows: int
) -> None:
    templates = await two_segments(disk.db)
    space = await disk.start(block_rows)
    await disk.write(space)
    assert disk.ways == ["database"]
    templates |= await enrol(disk.db, MANIFEST, range(30, 36))
    await erase(disk.db, [3, 20, 31])
    for number in (3, 20, 31):
        del templates[number]
    again = await disk.start(block_rows)
    assert disk.ways == ["database", "snapshot"]
    agrees(again, templates)
    # And goes on: changes, another snapshot, another start.
    templates |= await enrol(disk.db, MANIFEST, range(40, 60))
    await erase(disk.db, [0, 41])
    del templates[0], templates[41]
    await again.catch_up(disk.db)
    agrees(again, templates)
    assert await disk.write(again)
    assert not await disk.write(again)
    third = await disk.start(block_rows)
    assert disk.ways[-1] == "snapshot"
    agrees(third, templates)


async def test_keys_of_heads_do_not_pile_up(disk: Disk) -> None:
    templates = await two_segments(disk.db)
    space = await disk.start()
    for number in range(60, 66):
        templates |= await enrol(disk.db, MANIFEST, [number])
        await space.catch_up(disk.db)
        assert await disk.write(space)
    async with disk.db.read() as uow:
        heads = select(snapshot_keys.c.key_id).where(snapshot_keys.c.segment.is_(None))
        assert len((await uow.connection.execute(heads)).all()) == 2
    agrees(await disk.start(), templates)
    assert disk.ways[-1] == "snapshot"


async def test_files_are_private_and_show_no_template(disk: Disk) -> None:
    os.umask(0o022)
    await two_segments(disk.db)
    space = await disk.start(8)
    await disk.write(space)
    folder = disk.directory / SPACE
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kinds = {path.suffix for path in folder.iterdir()}
    assert {".segment", ".rows"} <= kinds
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    rows = [spread(number, WIDTH) for number in range(24)]
    codes = [np.rint(row / (np.abs(row).max() / np.float32(127))).astype(np.int8) for row in rows]
    plain = [
        Trace("template", tuple(row.tobytes()[at : at + 48] for at in range(0, 2000, 48))) for row in rows
    ]
    plain += [Trace("codes", tuple(c.tobytes()[at : at + 24] for at in range(0, 480, 24))) for c in codes]
    assert search([disk.directory], plain)[0] == []


async def test_an_erasure_closes_every_snapshot_of_it_before_the_receipt(disk: Disk, tmp_path: Path) -> None:
    templates = await two_segments(disk.db)
    other = Disk(disk.db, tmp_path / "other")
    for one in (disk, other):
        await one.write(await one.start())
    shutil.copytree(disk.directory, tmp_path / "stolen")
    assert await shown(disk.db, tmp_path) == set(templates.values())
    # No gallery follows: the replicas are down.
    await erase(disk.db, [15])
    gone = {templates[number] for number in range(24) if templates[number] // 8192 == templates[15] // 8192}
    assert await shown(disk.db, tmp_path) == set(templates.values()) - gone
    del templates[15]
    for one in (disk, other):
        space = await one.start()
        assert one.ways[-1] == "snapshot"
        agrees(space, templates)
        assert await one.write(space)
    assert await shown(disk.db, tmp_path) == set(templates.values())


async def test_the_process_that_erases_keeps_no_key_of_the_row(disk: Disk) -> None:
    templates = await two_segments(disk.db)
    await disk.write(await disk.start(8))
    space = await disk.start(8)
    await erase(disk.db, [2])
    await space.catch_up(disk.db)
    gallery = space.gallery
    held = list(gallery._readers.view.blocks)  # type: ignore[attr-defined]
    for block in held:
        for place in np.flatnonzero(block.ids == templates[2]):
            assert not block.sealed().keys(np.array([place])).any()
            assert not block._codes[place].any()


async def drop_keys(disk: Disk) -> None:
    async with disk.db.write() as uow:
        await uow.connection.execute(delete(snapshot_keys))
        await uow.commit()


async def shorten_log(disk: Disk, condition: str) -> None:
    async with disk.db.write() as uow:
        await uow.connection.execute(gallery_log.delete().where(text(condition)))
        await uow.commit()


def change(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def newest(folder: Path, suffix: str) -> Path:
    return max(folder.glob(f"*{suffix}"), key=lambda path: path.stat().st_size)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "head changed": lambda folder: change(folder / HEAD, -1),
    "head cut": lambda folder: os.truncate(folder / HEAD, 40),
    "head empty": lambda folder: os.truncate(folder / HEAD, 0),
    "head without its end": lambda folder: os.truncate(folder / HEAD, (folder / HEAD).stat().st_size - 5),
    "segment changed": lambda folder: change(newest(folder, ".segment"), 999),
    "segment cut": lambda folder: os.truncate(newest(folder, ".segment"), 99),
    "segment gone": lambda folder: newest(folder, ".segment").unlink(),
    "segments exchanged": lambda folder: _exchange(*sorted(folder.glob("*.segment"))),
    "rows gone": lambda folder: newest(folder, ".rows").unlink(),
    "rows cut": lambda folder: os.truncate(newest(folder, ".rows"), 3 * 4 * WIDTH),
}


def _exchange(one: Path, other: Path) -> None:
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


@pytest.mark.parametrize("how", DAMAGE)
async def test_a_damaged_snapshot_is_refused_and_the_database_fills_the_gallery(disk: Disk, how: str) -> None:
    templates = await two_segments(disk.db)
    await disk.write(await disk.start())
    DAMAGE[how](disk.directory / SPACE)
    space = await disk.start()
    assert disk.ways == ["database", "damaged"]
    agrees(space, templates)
    assert await disk.write(space)
    agrees(await disk.start(), templates)
    assert disk.ways[-1] == "snapshot"


@pytest.mark.parametrize(
    ("reason", "do"),
    [
        ("another key", drop_keys),
        ("ahead of the log", lambda disk: shorten_log(disk, "seq > 20")),
        ("older than the log", lambda disk: shorten_log(disk, "seq < 28")),
    ],
)
async def test_a_snapshot_that_does_not_belong_here_is_refused_by_name(
    disk: Disk, reason: str, do: Callable[[Disk], object]
) -> None:
    templates = await two_segments(disk.db)
    await disk.write(await disk.start())
    if reason == "older than the log":
        templates |= await enrol(disk.db, MANIFEST, range(30, 36))
    await do(disk)  # type: ignore[misc]
    space = await disk.start()
    assert disk.ways == ["database", reason]
    agrees(space, templates)


async def test_a_snapshot_of_another_space_or_of_an_older_head_is_refused(disk: Disk) -> None:
    await two_segments(disk.db)
    space = await disk.start()
    await disk.write(space)
    folder = disk.directory / SPACE
    old = (folder / HEAD).read_bytes()
    (folder / HEAD).write_bytes(old.replace(SPACE.encode(), b"sp-other", 1))
    templates = dict(await enrol(disk.db, MANIFEST, [50]))
    assert templates
    await disk.start()
    assert disk.ways[-1] == "another space"
    # Files of an old head that the next one has replaced.
    await space.catch_up(disk.db)
    await disk.write(space)
    (folder / HEAD).write_bytes(old)
    again = await disk.start()
    assert disk.ways[-1] == "damaged"
    assert again.gallery.size == 25


async def test_after_a_rotation_of_the_master_key_no_old_snapshot_opens(db: Database, tmp_path: Path) -> None:
    file = tmp_path / "keys" / "master.key"
    file.parent.mkdir()
    sealed = await Database.open(f"sqlite+aiosqlite:///{tmp_path / 'rotated.db'}", MasterKeys(KeyFile(file)))
    await sealed.migrate()
    async with sealed.write() as uow:
        await uow.connection.execute(text("UPDATE master_keys SET all_sealed = 1"))
        await uow.connection.execute(text("UPDATE id_keys SET all_hidden = 1"))
        await uow.commit()
    await register(sealed, MANIFEST)
    disk = Disk(sealed, tmp_path / "data")
    templates = await two_segments(sealed)
    space = await disk.start()
    await disk.write(space)
    await rotate_master(sealed)
    assert await shown(sealed, disk.directory) == set()
    agrees(await disk.start(), templates)
    assert disk.ways[-1] == "another key"
    assert await disk.write(space)
    agrees(await disk.start(), templates)
    assert disk.ways[-1] == "snapshot"
    await sealed.close()


async def test_one_process_writes_and_the_others_read(disk: Disk) -> None:
    await two_segments(disk.db)
    first, second = await disk.start(), await disk.start()
    assert first.snapshots is not None
    assert second.snapshots is not None
    assert await first.snapshots.write(first)
    assert not await second.snapshots.write(second)
    first.snapshots.close()
    assert await second.snapshots.write(second)
    second.snapshots.close()


async def test_a_stored_template_that_does_not_open_leaves_the_gallery_after_the_start(disk: Disk) -> None:
    templates = await two_segments(disk.db)
    await disk.write(await disk.start())
    async with disk.db.write() as uow:
        other = update(tables.templates).where(tables.templates.c.template_id == templates[5])
        await uow.connection.execute(other.values(vector=bytes(99)))
        await uow.commit()
    space = await disk.start()
    agrees(space, templates)
    assert space.snapshots is not None
    await space.snapshots.check(space)
    assert f"template {templates.pop(5)}" in disk.db.refused
    agrees(space, templates)


async def test_what_is_left_of_a_kill_and_of_deleted_spaces_is_removed(disk: Disk) -> None:
    await two_segments(disk.db)
    space = await disk.start()
    await disk.write(space)
    folder = disk.directory / SPACE
    (disk.directory / "sp-gone").mkdir()
    space = await disk.start()
    for name in ("0.segment", "0.rows", "head.partial", "sp-gone.txt"):
        (folder / name).write_bytes(b"left")
    assert space.snapshots is not None
    await space.snapshots.pass_over([space])
    names = {path.name for path in folder.iterdir()}
    assert not names & {"0.segment", "0.rows", "head.partial"}
    assert not (disk.directory / "sp-gone").exists()
    space.snapshots.close()


def test_a_segment_comes_back_as_it_was_and_no_other_bytes_do() -> None:
    made = Segment(
        ids=np.array([3, 9]),
        codes=np.array([[1, -2, 3], [4, 5, -127]], np.int8),
        scale=np.array([0.5, 0.25], np.float32),
        radius=np.array([0.125, 0.0], np.float32),
        keys=np.arange(2 * KEY_BYTES, dtype=np.uint8).reshape(2, KEY_BYTES),
        of=np.array([0, 1], np.uint16),
        places=np.array([7, 0], np.int32),
        files=("a.rows", "b.rows"),
        longest=1.001,
    )
    data = made.pack()
    back = Segment.unpack(data, 3)
    for name in ("ids", "codes", "scale", "radius", "keys", "of", "places"):
        assert np.array_equal(getattr(back, name), getattr(made, name)), name
    assert (back.files, back.longest) == (made.files, made.longest)
    for broken, width in ((data, 4), (data[:-1], 3), (data + b"0", 3), (b"", 3), (data[:30], 3)):
        with pytest.raises((ValueError, KeyError)):
            Segment.unpack(broken, width)


def kill_a_writer(directory: Path, wait_s: float) -> None:
    """Starts a writer and kills it some time after its first snapshot."""
    command = [sys.executable, "-m", "tests.service.spaces.snapshot_writer", str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert any(line.startswith("written") for line in child.stdout)
        time.sleep(wait_s)
        child.send_signal(signal.SIGKILL)


async def test_a_kill_at_any_moment_leaves_a_snapshot_that_is_right(tmp_path: Path) -> None:
    """A child writes one snapshot after the other while it enrols and erases; it is killed here and there."""
    rng = np.random.default_rng(7)
    for _ in range(KILLS):
        await asyncio.to_thread(kill_a_writer, tmp_path, float(rng.uniform(0, 0.4)))
        db = await Database.open(
            f"sqlite+aiosqlite:///{tmp_path / 'halflight.db'}", MasterKeys(KeyFile(tmp_path / "master.key"))
        )
        disk = Disk(db, tmp_path)
        space = await disk.start()
        assert disk.ways == ["snapshot"]
        with sqlite3.connect(tmp_path / "halflight.db") as raw:
            rows = raw.execute("SELECT template_id FROM templates ORDER BY template_id").fetchall()
        assert sorted(space.gallery.ids().tolist()) == [row[0] for row in rows]  # type: ignore[attr-defined]
        plain = opened(MANIFEST, tmp_path / "plain")
        await plain.follow(db)
        queries = np.stack([spread(number, WIDTH) for number in range(40)])
        assert space.gallery.search(queries, 5) == plain.gallery.search(queries, 5)
        await db.close()


def test_the_manifest_of_these_tests_is_the_built_in_one() -> None:
    assert isinstance(MANIFEST, Manifest)
