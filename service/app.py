"""The ASGI application: opens the state, starts the background tasks, drains at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service import background
from service.api import (
    audit,
    bulk,
    compreface,
    console,
    datasets,
    doors,
    events,
    jobs,
    keys,
    merging,
    operations,
    problems,
    recognition,
    search,
    site_evaluation,
    spaces,
    subjects,
    terms,
    thresholds,
    tracks,
    transfer,
    unknowns,
    watchers,
    webhooks,
    whoami,
)
from service.api.image_docs import with_options
from service.api.middleware import AccessLog, LocalHost
from service.api.prefix import VERSION, Prefixes
from service.api.schemas.event_bodies import event_body
from service.api.schemas.subjects import enrol_answer
from service.background import WhenLoaded
from service.settings import Settings
from service.state import open_state
from service.store.errors import StoreError
from service.telemetry import Metrics
from service.tracing import Tracing
from service.workers.buckets import Rates
from service.workers.line import Line


def create_app(
    settings: Settings,
    *,
    when_loaded: WhenLoaded | None = None,
    line: Line | None = None,
    rates: Rates | None = None,
    when_alone: Callable[[], None] | None = None,
) -> FastAPI:
    """The ASGI application. It calls `when_loaded` once, after loading or its failure (State.failure).

    `line`: to the other workers of this service; `when_alone`: called when it breaks. `rates`: what all of
    them count together.
    """
    metrics, tracing = Metrics(), Tracing(settings.otel_endpoint, version("halflight"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = await open_state(settings, metrics, enrol_answer, event_body, line, rates)
        app.state.halflight = state
        if line is not None:
            line.start(
                on_event=state.decisions.take,
                on_note=state.watchers.take,
                on_ask=lambda: operations.own_metrics(state),
                on_end=when_alone or (lambda: None),
            )
        state.audit.start()
        state.probes.start()
        await state.doors.start()
        tasks = background.start(state, when_loaded)
        try:
            yield
        finally:
            state.draining = True
            await background.stop(tasks)
            await state.doors.close()
            await state.probes.close()
            state.refusals.sweep(everything=True)
            await state.audit.close()
            if line is not None:
                await line.close()
            with suppress(StoreError):
                await state.keys.store_last_use()
            await state.registry.close()
            await state.pipeline.close()
            await state.db.close()
            await tracing.close()

    app = FastAPI(
        title="Halflight",
        version=version("halflight"),
        summary="Match masked near-infrared faces against visible-light enrolment photos.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # A redirect would repeat the Host of whoever asks, before anybody is let in.
        redirect_slashes=False,
        # `Prefixes` sets the root path of each request, which may end in `/v1`.
        root_path_in_servers=False,
        servers=[{"url": settings.root_path or "/"}],
    )
    app.include_router(recognition.router)
    app.include_router(tracks.router)
    app.include_router(subjects.enroll_router)
    parts = (
        *(search, merging, subjects, terms, operations, spaces, jobs, datasets, keys, audit),
        *(thresholds, events, webhooks, doors, watchers, unknowns, whoami),
    )
    for part in parts:
        app.include_router(part.router)
    app.include_router(bulk.upload_router)
    app.include_router(bulk.router)
    app.include_router(site_evaluation.upload_router)
    app.include_router(site_evaluation.router)
    app.include_router(transfer.export_router)
    app.include_router(transfer.import_router)
    if settings.compreface:
        for router in compreface.ROUTERS:
            app.include_router(router)
    operations.install_docs(app)
    console.install_console(app)
    problems.install_handlers(app)
    app.add_middleware(LocalHost)
    app.add_middleware(AccessLog, metrics=metrics, tracing=tracing)
    app.add_middleware(Prefixes, root_path=settings.root_path)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's OpenAPI document below `/v1`, with the problem schema and the security scheme added."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            routes=app.routes,
            servers=app.servers,
        )
        document["paths"] = {
            _versioned(path): {method: with_options(operation) for method, operation in found.items()}
            for path, found in document["paths"].items()
        }
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = problems.PROBLEM_DEFINITION
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        if any(path.startswith(compreface.PREFIX) for path in document["paths"]):
            components["securitySchemes"] |= compreface.SECURITY_SCHEME
        document["security"] = [{"key": []}]
        app.openapi_schema = document
    return app.openapi_schema


def _versioned(path: str) -> str:
    """A path as the document names it: CompreFace's have a version of their own."""
    return path if path.startswith(compreface.PREFIX) else VERSION + path
