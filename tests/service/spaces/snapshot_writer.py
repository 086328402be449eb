"""Enrols, erases and writes snapshots until it is killed; says so after each snapshot."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from faces.bundle import read
from service.access.private import make_private
from service.sealing.sources import KeyFile, MasterKeys
from service.settings import builtin_bundle
from service.spaces.snapshots import GallerySnapshots
from service.store.database import Database
from tests.service.spaces.galleries import enrol, erase, opened, register, skip_ids


async def main(directory: Path) -> None:
    make_private(directory)
    url = f"sqlite+aiosqlite:///{directory / 'halflight.db'}"
    db = await Database.open(url, MasterKeys(KeyFile(directory / "master.key")))
    await db.migrate()
    manifest = read(builtin_bundle()).manifest
    async with db.read() as uow:
        known = {record.space_id for record in await uow.spaces.all()}
    if manifest.space_id not in known:
        await register(db, manifest)
        await enrol(db, manifest, range(20))
        await skip_ids(db, 8185)
    snapshots = GallerySnapshots(db, directory / "gallery", least=1)
    space = opened(manifest, directory / "gallery", snapshots, block_rows=16)
    await space.follow(db)
    while True:
        async with db.read() as uow:
            first = await uow.log.head(manifest.space_id)
        await enrol(db, manifest, range(1000 + first, 1004 + first))
        await space.catch_up(db)
        await snapshots.write(space)
        print("written", flush=True)
        await erase(db, [1000 + first + random.randrange(4)])
        await space.catch_up(db)


asyncio.run(main(Path(sys.argv[1])))
