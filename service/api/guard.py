"""Lets a request in from its head alone, then receives its body: nothing is read for a stranger.

FastAPI parses a body before it resolves dependencies, so a dependency that checks the key comes too
late. `GuardedRoute` checks it first.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from service.access.keys import Permission, Principal, Role
from service.api.bodies import Pace, declared_length, paced, receive_body, replay, too_large
from service.api.deps import BEARER, Credential, Need, authenticate, need_of_dependency, takes_place
from service.api.json_uploads import ONE_IMAGE
from service.api.options import KnownOptions
from service.api.presence import watched
from service.api.strict_json import RepeatedName, loads
from service.api.uploads import read_upload
from service.errors import MalformedRequest, ServiceError
from service.settings import Settings
from service.state import State
from service.store.records import AuditEvent

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

# A JSON body of ours has a few fields; metadata, the largest of them, has 8 KiB.
MAX_JSON_BYTES = 64 << 10
MAX_DOCUMENT_BYTES = 4 << 20
# What a caller sees of these depends on the permissions of its key (`matching.disclosure`).
DISCLOSING = ("/identify", "/verify", "/recognize")
# For everybody: no key is asked for.
OPEN: dict[str, Any] = {"security": [], "x-role": "open"}
# How far a job is, which models and cameras are there and what the caller's own key may do says nothing about
# a person.
NOT_AUDITED = ("/admin/jobs", "/admin/spaces", "/admin/datasets", "/watchers", "/whoami")
# How far a bulk enrolment is; its report, below this path, names people.
BULK_PROGRESS = "/enroll/bulk/{job_id}"
BODYLESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


def refuse_declared(request: Request, limit: int) -> None:
    """Raises BodyTooLarge for a body that says it is too large, before a byte of it is asked for."""
    if declared_length(request.scope["headers"]) > limit:
        raise too_large(limit)


def pace_of(settings: Settings) -> Pace:
    return Pace(settings.body_idle_s, settings.body_grace_s, settings.min_body_bytes_per_s)


def need_of(dependant: Dependant) -> Need | None:
    """The strictest need of a route's dependencies; None for a route that is open to everybody."""
    needs = [need_of(each) for each in dependant.dependencies]
    if dependant.call is not None:
        needs.append(need_of_dependency(dependant.call))
    found = [need for need in needs if need is not None]
    return max(found, key=lambda need: (list(Role).index(need.role), need.or_with is None), default=None)


def documented_access(need: Need | None, path: str) -> dict[str, Any]:
    """What the OpenAPI document says about who may call an operation: `x-role`, `x-permissions`."""
    if need is None:
        return OPEN
    permissions = {}
    if need.or_with is not None:
        permissions[need.or_with.value] = "lets in a key of a lower role"
    elif path.endswith(DISCLOSING):
        permissions[Permission.INVESTIGATE.value] = "every candidate with its exact score, and any threshold"
    more = {"x-permissions": permissions} if permissions else {}
    return {"x-role": need.role.value} | more


class GuardedRoute(APIRoute):
    """A JSON route: at most `MAX_JSON_BYTES`, received before anything parses it."""

    credential: ClassVar[Credential] = BEARER

    def max_body_bytes(self, settings: Settings) -> int:  # noqa: ARG002 - other routes ask the settings
        return MAX_JSON_BYTES

    def get_route_handler(self) -> Handler:
        handle, need = super().get_route_handler(), need_of(self.dependant)
        self.openapi_extra = (self.openapi_extra or {}) | documented_access(need, self.path)
        self.options = KnownOptions.of(self)
        placed = any(takes_place(each.call) for each in self.dependant.dependencies)

        async def guarded(request: Request) -> Response:
            if need is not None:
                await authenticate(request, need, self.credential)
            if placed:
                # A place is taken once the body is there; where there is none, the body is not asked for.
                request.app.state.halflight.admission.check()
            self.options.check_query(request.scope["query_string"])
            # A request that was let in before a shutdown began is answered: see `State.space`.
            request.state.may_finish = not request.app.state.halflight.draining
            if request.method not in BODYLESS:
                return await self.with_body(request, handle)
            unaudited = self.path.startswith(NOT_AUDITED) or self.path == BULK_PROGRESS
            if need is None or request.method == "DELETE" or unaudited:
                return await handle(request)
            return await self.audited_read(request, handle)

        return guarded

    async def audited_read(self, request: Request, handle: Handler) -> Response:
        """Records who read what, of which subject, before the answer goes out; also what was not found."""
        state: State = request.app.state.halflight
        principal: Principal = request.state.principal

        def event(subject_id: str | None, code: str | None) -> AuditEvent:
            detail = {"route": self.path, "refused": code}
            return AuditEvent(
                at=datetime.now(UTC),
                actor=principal.key_id,
                action="read",
                subject_id=subject_id,
                detail=detail,
            )

        try:
            answer = await handle(request)
        except ServiceError as error:
            await state.audit.record(event(None, error.code))
            raise
        await state.audit.record(event(request.path_params.get("subject_id"), None))
        return answer

    async def with_body(self, request: Request, handle: Handler) -> Response:
        """Receive the whole body, then handle the request."""
        state: State = request.app.state.halflight
        limit = self.max_body_bytes(state.settings)
        refuse_declared(request, limit)
        body = await receive_body(request.receive, pace_of(state.settings), state.bodies, limit=limit)
        try:
            received = Request(request.scope, replay(body, request.receive))
            await self.prepare(received, state.settings)
            async with watched(request.receive):
                return await handle(received)
        finally:
            state.bodies.give_back(len(body))

    async def prepare(self, request: Request, settings: Settings) -> None:  # noqa: ARG002 - other routes ask the settings
        """Look at a received body before the handler does. Raises MalformedRequest for a name given twice."""
        # FastAPI's parser takes the last of two values; what else is wrong with a body, FastAPI says.
        with suppress(ValueError, RecursionError):
            try:
                loads(await request.body() or b"null")
            except RepeatedName as error:
                raise MalformedRequest(f"the body: {error}") from error


class DocumentRoute(GuardedRoute):
    """A JSON route that takes what another command wrote: at most `MAX_DOCUMENT_BYTES`."""

    def max_body_bytes(self, settings: Settings) -> int:  # noqa: ARG002 - as in the base
        return MAX_DOCUMENT_BYTES


class ImageRoute(GuardedRoute):
    """A route that takes images: as many bytes as the settings allow.

    `one_image`: names of JSON whose value is an image.
    """

    one_image: ClassVar[tuple[str, ...]] = ONE_IMAGE

    def max_body_bytes(self, settings: Settings) -> int:
        return settings.max_body_bytes

    async def prepare(self, request: Request, settings: Settings) -> None:
        """Read a form or JSON, and take its options as if they stood in the query."""
        form = await read_upload(request, settings, one_image=self.one_image)
        if form is None:
            return
        request.scope["query_string"], request.state.form = self.options.merge(
            request.scope["query_string"], form
        )


class StreamRoute(GuardedRoute):
    """A route whose handler reads an archive as it comes, within its size and pace."""

    def max_body_bytes(self, settings: Settings) -> int:
        return settings.max_archive_bytes

    async def with_body(self, request: Request, handle: Handler) -> Response:
        state: State = request.app.state.halflight
        limit = self.max_body_bytes(state.settings)
        refuse_declared(request, limit)
        over = too_large(limit)
        chunks, seen = paced(request.receive, pace_of(state.settings)), 0

        async def receive() -> dict[str, Any]:
            nonlocal seen
            chunk = await anext(chunks, None)
            seen += len(chunk or b"")
            if seen > limit:
                raise over
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        return await handle(Request(request.scope, receive))
