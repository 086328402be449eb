"""How both clients connect: address, key, time limits."""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import httpx

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONNECT_S = 10.0
# The service says something every 15 seconds, even where nothing happens.
STREAM = httpx.Timeout(60.0, connect=CONNECT_S)


class Key(httpx.Auth):
    """Sends the key with each request. Nothing shows it."""

    def __init__(self, key: str) -> None:
        self._header = f"Bearer {key}"

    def __repr__(self) -> str:
        return "Key(...)"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._header
        yield request


def root_of(url: str) -> str:
    """Returns the address of the API, `.../v1`. Raises ValueError for what is no address of a service."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"no address: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("no address of a service: write http://HOST:PORT")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise ValueError("the address has a user, a query or a fragment: give the key as `key`")
    return url.rstrip("/").removesuffix("/v1") + "/v1"


def connection(url: str, key: str | None, timeout_s: float) -> dict[str, Any]:
    """Returns what httpx's clients take. Raises ValueError for a key or an address that cannot be one."""
    root = root_of(url)
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key and key):
        raise ValueError("the key is empty, or holds characters that no key has: copy it again")
    return {
        "base_url": root,
        "auth": None if key is None else Key(key),
        "timeout": httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
        "headers": {"User-Agent": f"halflight-client/{own_version()}"},
        # A proxy from the environment cannot reach the loopback of this machine.
        "trust_env": httpx.URL(root).host not in LOOPBACK,
    }


@lru_cache(maxsize=1)
def own_version() -> str:
    try:
        return version("halflight")
    except PackageNotFoundError:
        return "0"
