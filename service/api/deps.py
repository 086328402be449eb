"""Defines the dependencies of the routes: the state, the caller, the active space, admission."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from service.access.keys import Principal, Role
from service.errors import Forbidden, Unauthorized
from service.spaces.space import EmbeddingSpace
from service.state import State

LOCAL = Principal(key_id="local", role=Role.ADMIN, label="open access on loopback")


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach a bind address or host name."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


async def get_state(request: Request) -> State:
    # Async like every dependency here: FastAPI would run a plain function in a thread of its pool.
    state: State = request.app.state.halflight
    return state


StateDep = Annotated[State, Depends(get_state)]


def _refuse_foreign_page(request: Request) -> None:
    """Raises Forbidden if the request comes from a web page of another host.

    Open access trusts this machine, not the pages in its browser. Such a page can send requests to
    loopback, which its Origin reveals, and can make its own name resolve to loopback, which the Host
    reveals.
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
    """Identifies the caller. Raises Unauthorized, Forbidden, RateLimited."""
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


def require_role(role: Role) -> Callable[..., Awaitable[Principal]]:
    """Returns a dependency that admits callers of this role. Raises Forbidden and what `caller` raises."""

    async def check(principal: Annotated[Principal, Depends(caller)]) -> Principal:
        if not principal.allows(role):
            raise Forbidden(f"this needs the role {role.value}, the key has {principal.role.value}")
        return principal

    return check


Prober = Annotated[Principal, Depends(require_role(Role.PROBE))]
Operator = Annotated[Principal, Depends(require_role(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(require_role(Role.ADMIN))]


async def active_space(state: StateDep) -> EmbeddingSpace:
    """Returns the active space, once for each request, so that its probe, gallery and threshold agree."""
    return state.space()


SpaceDep = Annotated[EmbeddingSpace, Depends(active_space)]


async def _admitted(state: StateDep) -> AsyncIterator[None]:
    """Admits the request while it runs. Raises Overloaded at the limit.

    Runs on the event loop, so that no other request comes between the check and the count.
    """
    with state.admission.admitted():
        yield


# The scope ends the admission before the response is sent, so a client that has its response finds room.
ADMITTED = Depends(_admitted, scope="function")
