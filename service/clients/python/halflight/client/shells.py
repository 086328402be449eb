"""Carries out the steps of operations: sends, reads and waits, blocking or in asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, TypeVar

import httpx

from halflight.client.archive import Body
from halflight.client.connection import STREAM
from halflight.client.flow import Emit, Load, Open, Read, Send, Step, Steps, Wait
from halflight.client.photos import read_photo
from halflight.client.requests import Request

T = TypeVar("T")
# A StopIteration does not pass through a future.
END = object()


class Shell:
    """Carries out the steps of one operation."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self._opened: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def run(self, steps: Steps[T]) -> T:
        """Returns what an operation returns that emits nothing."""
        result: Any = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                value: T = end.value
                return value
            result = self._take(step)

    def iterate(self, steps: Steps[None]) -> Generator[Any, None, None]:
        """Yields what an operation emits."""
        result: Any = None
        try:
            while True:
                try:
                    step = steps.send(result)
                except StopIteration:
                    return
                result = None
                if isinstance(step, Emit):
                    yield step.value
                else:
                    result = self._take(step)
        finally:
            self._close()

    def _take(self, step: Step) -> Any:
        match step:
            case Load(photo):
                return read_photo(photo)
            case Wait(seconds):
                time.sleep(seconds)
            case Send(request):
                try:
                    return self._http.send(self._built(request))
                except httpx.TransportError as error:
                    return error
            case Open(request):
                return self._open(request)
            case Read():
                try:
                    return next(self._chunks, None)
                except httpx.TransportError as error:
                    return error
        return None

    def _open(self, request: Request) -> httpx.Response | httpx.TransportError:
        self._close()
        try:
            opened = self._http.send(self._built(request, timeout=STREAM), stream=True)
            if not opened.is_success:
                opened.read()
                return opened
        except httpx.TransportError as error:
            return error
        self._opened, self._chunks = opened, opened.iter_bytes()
        return opened

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened, self._chunks = None, iter(())

    def _built(self, request: Request, **more: Any) -> httpx.Request:
        if request.body is not None:
            more["content"] = request.body.chunks()
        return self._http.build_request(request.method, request.path, **_head(request), **more)


class AsyncShell:
    """The same in asyncio; files are read in threads."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._opened: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def run(self, steps: Steps[T]) -> T:
        """Returns what an operation returns that emits nothing."""
        result: Any = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                value: T = end.value
                return value
            result = await self._take(step)

    async def iterate(self, steps: Steps[None]) -> AsyncGenerator[Any, None]:
        """Yields what an operation emits."""
        result: Any = None
        try:
            while True:
                try:
                    step = steps.send(result)
                except StopIteration:
                    return
                result = None
                if isinstance(step, Emit):
                    yield step.value
                else:
                    result = await self._take(step)
        finally:
            await self._close()

    async def _take(self, step: Step) -> Any:
        match step:
            case Load(photo):
                return await asyncio.to_thread(read_photo, photo)
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Send(request):
                try:
                    return await self._http.send(self._built(request))
                except httpx.TransportError as error:
                    return error
            case Open(request):
                return await self._open(request)
            case Read():
                try:
                    return None if self._chunks is None else await anext(self._chunks, None)
                except httpx.TransportError as error:
                    return error
        return None

    async def _open(self, request: Request) -> httpx.Response | httpx.TransportError:
        await self._close()
        try:
            opened = await self._http.send(self._built(request, timeout=STREAM), stream=True)
            if not opened.is_success:
                await opened.aread()
                return opened
        except httpx.TransportError as error:
            return error
        self._opened, self._chunks = opened, opened.aiter_bytes()
        return opened

    async def _close(self) -> None:
        if self._opened is not None:
            await self._opened.aclose()
        self._opened, self._chunks = None, None

    def _built(self, request: Request, **more: Any) -> httpx.Request:
        if request.body is not None:
            more["content"] = _in_threads(request.body)
        return self._http.build_request(request.method, request.path, **_head(request), **more)


def _head(request: Request) -> dict[str, Any]:
    return {
        "params": dict(request.params) or None,
        "headers": dict(request.headers),
        **request.content(),
    }


async def _in_threads(body: Body) -> AsyncGenerator[bytes, None]:
    chunks = body.chunks()
    while (chunk := await asyncio.to_thread(next, chunks, END)) is not END:
        assert isinstance(chunk, bytes)  # noqa: S101 - END is the only other value
        yield chunk
