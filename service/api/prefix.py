"""Serves the API below `/v1` and below the prefix of a proxy: one set of routes, whatever stands before it.

Prefixes become the `root_path` of the ASGI scope before anything else looks at the request. So a route,
its guard, its limits and its label in metrics are the same under every address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from service.api.bodies import Message, Receive

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

VERSION = "/v1"


class Prefixes:
    """Moves the proxy's `root_path` and then `/v1` from the path of a request into its `root_path`.

    A proxy may strip its prefix or leave it: both reach the same route. A prefix counts once, as whole
    segments of the decoded path, which is also what the router compares.
    """

    def __init__(self, app: App, *, root_path: str) -> None:
        self._app, self._root = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            inner = _without(self._root, scope["path"])
            below = _without(VERSION, inner)
            root = self._root if below is inner else self._root + VERSION
            scope["root_path"], scope["path"] = root, root + below
        await self._app(scope, receive, send)


def _without(prefix: str, path: str) -> str:
    """The path below a prefix, at least `/`; the same object where the prefix does not lead it."""
    if not prefix or not (path == prefix or path.startswith(prefix + "/")):
        return path
    return path[len(prefix) :] or "/"
