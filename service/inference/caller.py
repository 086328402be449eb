"""Whether the caller of the request in work is still there. The HTTP layer says so; costly steps ask."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from service.errors import CallerGone

T = TypeVar("T")

_leaving: ContextVar[asyncio.Future[None] | None] = ContextVar("leaving", default=None)


@contextmanager
def caller_present(leaving: asyncio.Future[None]) -> Iterator[None]:
    """Within the context, and in tasks made in it, `leaving` tells that the caller has gone."""
    token = _leaving.set(leaving)
    try:
        yield
    finally:
        _leaving.reset(token)


async def while_present(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; cancels it once the caller has gone, and raises CallerGone."""
    leaving = _leaving.get()
    if leaving is None:
        return await work
    task: asyncio.Future[T] = asyncio.ensure_future(work)
    either: list[asyncio.Future[Any]] = [task, leaving]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if task.cancelled():
        raise CallerGone("the caller has gone")
    return task.result()
