"""A replica in a process of its own: opens, migrates, registers, enrols. Run by the tests.

python -m tests.service.store.writer URL PREFIX COUNT
"""

from __future__ import annotations

import asyncio
import sys

from service.store.database import Database
from tests.service.store.support import KEYS, SPACE, D, enrolled, vector


async def main(url: str, prefix: str, count: int) -> None:
    db = await Database.open(url, KEYS)
    try:
        await db.migrate()
        async with db.write() as uow:
            await uow.spaces.register(SPACE, "bundle", D, "registered")
            await uow.spaces.set_state(SPACE, "active")
            await uow.commit()
        for i in range(count):
            await enrolled(db, f"{prefix}-{i % 5}", vector(i))
    finally:
        await db.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
