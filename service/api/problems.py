"""Renders every refusal as RFC 9457 `application/problem+json` with the code of the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from faces.strict import strip_prefix
from service.errors import (
    InvalidParameter,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    NotReady,
    ServiceError,
    StorageBusy,
    StorageFull,
    StorageReadOnly,
)
from service.store.errors import StoreBusy, StoreError, StoreFull, StoreReadOnly

log = structlog.get_logger("halflight.http")

PROBLEM = "application/problem+json"
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def problem_response(error: ServiceError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Returns the response for one refusal."""
    return JSONResponse(
        error.problem(),
        status_code=error.status,
        media_type=PROBLEM,
        headers={**error.headers(), **(headers or {})},
    )


def _refusal(request: Request, error: ServiceError) -> JSONResponse:
    """The response in the shape that the route of the request has for refusals: a problem, unless it says."""
    render: Callable[[ServiceError], JSONResponse] = getattr(
        request.scope.get("route"), "render_refusal", problem_response
    )
    return render(error)


def problem_docs(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Returns the OpenAPI `responses` for these refusals, grouped by status."""
    docs: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        entry = docs.setdefault(
            error.status,
            {"description": "", "content": {PROBLEM: {"schema": {"$ref": PROBLEM_SCHEMA}}}},
        )
        known = entry["description"]
        entry["description"] = f"{known}, `{error.code}`" if known else f"`{error.code}`"
    return docs


def _methods_at(request: Request) -> set[str]:
    """Every method that some route takes at this path: the router names those of the first one alone."""
    found: set[str] = set()
    for method in METHODS:
        scope = dict(request.scope) | {"method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            found.add(method)
    return found


PROBLEM_SCHEMA = "#/components/schemas/Problem"
PROBLEM_DEFINITION: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "index": {"type": "integer", "description": "Which image is meant, counted from 0"},
    },
}


def install_handlers(app: FastAPI) -> None:
    """Registers the handlers. An unforeseen error becomes a plain 500 without details."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ServiceError)  # noqa: S101 - registered for this type
        request.app.state.halflight.metrics.refusals.labels(error.code).inc()
        return _refusal(request, error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return await refused(request, MalformedRequest("the body is no JSON"))
        where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return await refused(request, InvalidParameter(f"`{where}`: {strip_prefix(first['msg'])}"))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        headers = error.headers or {}
        if error.status_code == 404:
            return problem_response(NotFound("no such path"), headers)
        if error.status_code == 405:
            allowed = ", ".join(sorted(_methods_at(request)))
            return problem_response(
                MethodNotAllowed("the path does not take this method"), {"Allow": allowed}
            )
        return await refused(request, MalformedRequest("the request cannot be parsed"))

    async def store(request: Request, error: Exception) -> JSONResponse:
        log.error("store failed", kind=type(error).__name__, cause=type(error.__cause__).__name__)
        if isinstance(error, StoreFull):
            return await refused(request, StorageFull("the disk of the database is full; nothing was stored"))
        if isinstance(error, StoreReadOnly):
            return await refused(request, StorageReadOnly("the database takes no writes; nothing was stored"))
        if isinstance(error, StoreBusy):
            return await refused(
                request, StorageBusy("other writers hold the database; nothing was stored", retry_after_s=5)
            )
        gone = NotReady("the database does not answer; nothing was stored", retry_after_s=5)
        return await refused(request, gone)

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        # The text of an exception may quote the request, so the log gets only its type and place.
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{where.tb_frame.f_code.co_qualname}:{where.tb_lineno}" if where else "?"
        log.error("unforeseen", kind=type(error).__name__, place=place)
        return _refusal(request, ServiceError("the service failed; see its log"))

    app.add_exception_handler(ServiceError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(StoreError, store)
    app.add_exception_handler(Exception, unforeseen)
