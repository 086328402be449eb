"""What handlers ask for: the state, the caller, room to work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from service.access.keys import Principal, Role
from service.errors import Forbidden, Unauthorized
from service.spaces.registry import EmbeddingSpace
from service.state import State

LOCAL = Principal(key_id="local", role=Role.ADMIN, label="open access on loopback")


def is_loopback(host: str) -> bool:
    """Whether a bind address or host name can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


async def get_state(request: Request) -> State:
    # Async, as every dependency is here: a plain function would wait for one of FastAPI's threads.
    state: State = request.app.state.halflight
    return state


StateDep = Annotated[State, Depends(get_state)]


def _refuse_foreign_page(request: Request) -> None:
    """Open access trusts this machine, not the web pages its browser shows.

    A page elsewhere can send requests to loopback (its Origin gives it away), and can make its own
    name resolve to loopback (then the Host is its name).
    """
    for header in ("host", "origin"):
        value = request.headers.get(header)
        if value is None:
            continue
        name = urlsplit(value if "//" in value else f"//{value}").hostname or ""
        if not is_loopback(name):
            raise Forbidden(
                f"without keys only this machine may ask, and the {header} header names another;"
                " create a key with `halflight keys create`"
            )


async def caller(request: Request, state: StateDep) -> Principal:
    """Who asks. Raises Unauthorized, Forbidden, RateLimited."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if token and scheme.lower() == "bearer":
        principal = await state.keys.authenticate(token.strip())
        if principal is None:
            raise Unauthorized("this key is unknown or revoked")
    elif is_loopback(state.settings.host) and not await state.keys.any_active():
        _refuse_foreign_page(request)
        principal = LOCAL
    else:
        raise Unauthorized("send a key as `Authorization: Bearer ...`")
    state.limiter.take(principal.key_id)
    return principal


def needs(role: Role) -> Callable[..., Awaitable[Principal]]:
    """A dependency that lets callers of this role in. Raises Forbidden besides what `caller` does."""

    async def check(principal: Annotated[Principal, Depends(caller)]) -> Principal:
        if not principal.allows(role):
            raise Forbidden(f"this needs the role {role.value}, the key has {principal.role.value}")
        return principal

    return check


Prober = Annotated[Principal, Depends(needs(Role.PROBE))]
Operator = Annotated[Principal, Depends(needs(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(needs(Role.ADMIN))]


async def active_space(state: StateDep) -> EmbeddingSpace:
    """Taken once for each request, so probe, gallery and threshold cannot mix."""
    return state.space()


SpaceDep = Annotated[EmbeddingSpace, Depends(active_space)]


async def _admitted(state: StateDep) -> AsyncIterator[None]:
    """Room for one more request in work. Raises Overloaded at once.

    On the event loop, so that nobody comes between the look at the limit and the count.
    """
    with state.admission.admitted():
        yield


# Given back before the answer is sent: whoever has an answer finds room for the next request.
ADMITTED = Depends(_admitted, scope="function")
