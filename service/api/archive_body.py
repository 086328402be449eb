"""An archive as the body of a request: what three routes ask of it, and how they take it in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from service.errors import MalformedRequest, UnsupportedMediaType

T = TypeVar("T")

ARCHIVE_TYPES = (
    "application/zip",
    "application/x-tar",
    "application/gzip",
    "application/x-bzip2",
    "application/x-xz",
    "application/octet-stream",
)
BODY = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ARCHIVE_TYPES}


def check_archive_type(request: Request) -> None:
    """Raises UnsupportedMediaType unless the head announces an archive."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ARCHIVE_TYPES:
        raise UnsupportedMediaType("send a zip or tar archive as the body, with its own media type")


async def received(request: Request, add: Callable[[AsyncIterator[bytes], int], Awaitable[T]]) -> T:
    """Hands the body to `add`, with the length that the client announced, 0 if none; returns what it returns.

    Raises MalformedRequest if the client went before its end.
    """
    declared = request.headers.get("content-length", "0")
    try:
        return await add(request.stream(), int(declared) if declared.isdigit() else 0)
    except ClientDisconnect as error:
        raise MalformedRequest("the archive ended early") from error
