"""Defines the dependencies of the routes: the state, the caller, the active space, admission."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

import structlog
from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from service.access.keys import Permission, Principal, Role
from service.errors import Forbidden, RateLimited, Unauthorized, UnsupportedMediaType
from service.inference.under_way import one_request
from service.spaces.space import EmbeddingSpace
from service.state import State

log = structlog.get_logger("halflight.access")

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


# Whoever forwards a request speaks for somebody else: that it comes from this machine says nothing.
# Every proxy has its own headers for that, so families of names count.
FORWARDED = ("forwarded", "via", "cdn-loop", "x-host", "x-rewrite-url", "x-remote-ip", "x-remote-addr")
FORWARDED_BEGIN = ("x-forwarded", "x-original", "x-envoy-", "x-proxy", "x-arr-", "x-azure-", "cf-")
FORWARDED_END = (
    "client-ip",
    "clientip",
    "real-ip",
    "user-ip",
    "source-ip",
    "connecting-ip",
    "proxy-protocol",
)
# What a web page can send anywhere without asking first, besides multipart, which carries its Origin.
FORM_TYPES = ("application/x-www-form-urlencoded", "text/plain")
READS = ("GET", "HEAD", "OPTIONS")
MAKE_A_KEY = "create a key with `halflight keys create`"


# A host and nothing else: no user, no path (RFC 9110, 7.2).
HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")


def _is_here(host: str) -> bool:
    """Whether a Host header names this machine's loopback."""
    found = HOST.fullmatch(host)
    return found is not None and is_loopback(found["name"].lower())


def _tells_of_proxy(name: str) -> bool:
    """Whether a header, in lower case, says that somebody forwards the request of another."""
    return name in FORWARDED or name.startswith(FORWARDED_BEGIN) or name.endswith(FORWARDED_END)


def refuse_foreign(request: HTTPConnection) -> None:
    """Raises Unauthorized for a proxy's request, Forbidden for one of another machine or a foreign page.

    Open access trusts this machine, not the pages that its browser shows: a page elsewhere can send
    requests to loopback (Origin or Sec-Fetch-Site gives it away), and can make its own name resolve to
    loopback (then the Host is its name). Nor does it trust a proxy here that speaks for others.
    """
    headers = request.headers
    if forwarded := next(filter(_tells_of_proxy, headers.keys()), None):
        raise Unauthorized(f"without keys nobody may ask through a proxy ({forwarded}); {MAKE_A_KEY}")
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    if len(hosts) > 1 or not all(_is_here(host) for host in hosts):
        raise Forbidden(
            f"without keys only this machine may ask, and the host header names another; {MAKE_A_KEY}"
        )
    if any(origin != f"{request.url.scheme}://{hosts[0] if hosts else ''}" for origin in origins):
        raise Forbidden(f"without keys no other page may ask, and the origin header names one; {MAKE_A_KEY}")
    if any(site not in ("none", "same-origin") for site in headers.getlist("sec-fetch-site")):
        raise Forbidden(f"without keys no other page may ask, and sec-fetch-site names one; {MAKE_A_KEY}")


def _refuse_form_post(request: Request) -> None:
    """Raises UnsupportedMediaType where a page could have sent a change of state as a plain form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method not in READS and kind in FORM_TYPES:
        raise UnsupportedMediaType("send the request as JSON, as multipart/form-data or as an image")


async def is_open(state: State) -> bool:
    """Whether access is open: on loopback, while no key has ever been made. Raises StoreError."""
    return is_loopback(state.settings.host) and not await state.keys.any_ever()


@dataclass(frozen=True, slots=True)
class Need:
    """Who may call a route: keys of `role`, or of a lower one with the permission `or_with`."""

    role: Role
    or_with: Permission | None = None

    def admits(self, principal: Principal) -> bool:
        return principal.allows(self.role) or (self.or_with is not None and principal.has(self.or_with))

    def __str__(self) -> str:
        role = f"the role {self.role.value}"
        return role if self.or_with is None else f"{role} or the permission {self.or_with.value}"


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a key stands in the head. `scheme`: what stands before it; none if the header is the key."""

    header: str
    scheme: str | None = None

    def of(self, request: Request) -> str | None:
        """The key that a request presents; None if it presents none in this way."""
        value = request.headers.get(self.header, "")
        if self.scheme is None:
            return value.strip() or None
        scheme, _, token = value.partition(" ")
        return token.strip() if token and scheme.lower() == self.scheme.lower() else None

    def __str__(self) -> str:
        shown = "..." if self.scheme is None else f"{self.scheme} ..."
        return f"{self.header}: {shown}"


BEARER = Credential("Authorization", "Bearer")


async def _principal(request: Request, state: State, credential: Credential) -> Principal:
    """Who asks, by the head. Raises Unauthorized, Forbidden, UnsupportedMediaType, StoreError."""
    key = credential.of(request)
    if key is not None:
        return await state.keys.authenticate(key)
    if await is_open(state):
        refuse_foreign(request)
        _refuse_form_post(request)
        return LOCAL
    raise Unauthorized(f"send a key as `{credential}`")


async def still_admitted(request: Request) -> bool:
    """Whether the key that a request was let in with is still good, for streams. Raises StoreError."""
    try:
        principal = await _principal(request, request.app.state.halflight, BEARER)
    except (Unauthorized, Forbidden):
        return False
    return bool(principal == request.state.principal)


async def authenticate(request: Request, need: Need, credential: Credential) -> None:
    """Find out who asks, from the head alone, and leave it for `caller`. `credential`: where the key stands.

    Raises Unauthorized, Forbidden, RateLimited.
    """
    state: State = request.app.state.halflight
    address = request.client.host if request.client is not None else ""
    try:
        principal = await _principal(request, state, credential)
    except Unauthorized:
        state.metrics.failed_logins.inc()
        try:
            state.failed_logins.take(address)
        except RateLimited:
            state.metrics.throttled_logins.inc()
            log.warning("authentication throttled", address=address)
            raise
        log.warning("authentication failed", address=address)
        raise
    request.state.principal = principal
    state.limiter.take(principal.key_id)
    if not need.admits(principal):
        raise Forbidden(f"this needs {need}, the key has {principal.role.value}")


async def caller(request: Request) -> Principal:
    """Who asks, as `GuardedRoute` found out before anything else was read."""
    principal: Principal = request.state.principal
    return principal


class _Needs:
    """A dependency that names whom a route lets in; `GuardedRoute` reads it."""

    def __init__(self, role: Role, or_with: Permission | None = None) -> None:
        self.need = Need(role, or_with)

    async def __call__(self, principal: Annotated[Principal, Depends(caller)]) -> Principal:
        return principal


def need_of_dependency(dependency: object) -> Need | None:
    """Whom this dependency lets in; None where it asks for nothing."""
    return dependency.need if isinstance(dependency, _Needs) else None


Prober = Annotated[Principal, Depends(_Needs(Role.PROBE))]
# Whoever may see every candidate of an identification: an operator, or a probe key with the permission.
Investigator = Annotated[Principal, Depends(_Needs(Role.OPERATOR, Permission.INVESTIGATE))]
Operator = Annotated[Principal, Depends(_Needs(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(_Needs(Role.ADMIN))]


async def active_space(request: Request, state: StateDep) -> EmbeddingSpace:
    """Returns the active space, once for each request, so that its probe, gallery and threshold agree."""
    return state.space(may_finish=request.state.may_finish)


SpaceDep = Annotated[EmbeddingSpace, Depends(active_space)]


async def _admitted(state: StateDep) -> AsyncIterator[None]:
    """Admits the request while it runs. Raises Overloaded at the limit.

    Runs on the event loop, so that no other request comes between the check and the count.
    """
    with state.admission.admitted(), one_request():
        yield


def takes_place(dependency: object) -> bool:
    """Whether this dependency is the admission of a request."""
    return dependency is _admitted


# The scope ends the admission before the response is sent, so a client that has its response finds room.
ADMITTED = Depends(_admitted, scope="function")
