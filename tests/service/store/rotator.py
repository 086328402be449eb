"""Rotates the master key of a database, slowly, so that a test can kill it amid the work."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from service.sealing.sources import KeyFile, MasterKeys
from service.store.database import Database
from service.store.errors import StoreBusy
from service.store.rotation import rotate_master


async def main(url: str, file: Path) -> None:
    db = await Database.open(url, MasterKeys(KeyFile(file)))
    print("begins", flush=True)
    while True:
        try:
            await rotate_master(db, pause_s=0.05, at_once=20)
        except StoreBusy:
            # Others write, on a busy machine: what is done stays done.
            continue
        break
    await db.close()


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
