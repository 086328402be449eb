"""Upgrades a database of release 0.6.0 in small portions, so that a test can kill it amid the work.

Prints the number of subjects in each portion, after its commit; the last has none.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from service.sealing.sources import KeyFile, MasterKeys
from service.store import clear_ids
from service.store.clear_rows import seal_clear_rows
from service.store.database import Database
from service.telemetry import configure_logs


async def main(url: str, file: Path) -> None:
    db = await Database.open(url, MasterKeys(KeyFile(file)))
    await db.migrate()
    configure_logs("WARNING")
    hide = clear_ids._hide_some

    async def tell(db: Database) -> int:
        count = await hide(db)
        print(count, flush=True)
        return count

    clear_ids.SUBJECTS_AT_ONCE = 5
    clear_ids._hide_some = tell
    await seal_clear_rows(db, lambda *_: None)
    await db.close()


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
