"""Rotates the master key of a database, slowly, so that a test can kill it amid the work."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from service.sealing.sources import KeyFile, MasterKeys
from service.store.database import Database
from service.store.rotation import rotate_master


async def main(url: str, file: Path) -> None:
    db = await Database.open(url, MasterKeys(KeyFile(file)))
    await db.migrate()
    print("begins", flush=True)
    await rotate_master(db, pause_s=0.05, at_once=20)
    await db.close()


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
