"""Watches whether the caller of a received request waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.api.bodies import Receive
from service.inference.caller import caller_present


@asynccontextmanager
async def watched(receive: Receive) -> AsyncIterator[None]:
    """Tells `service.inference.caller` as soon as the caller has gone. Nobody else may call `receive`."""
    leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        leaving.set_result(None)

    watcher = asyncio.create_task(watch())
    try:
        with caller_present(leaving):
            yield
    finally:
        watcher.cancel()
