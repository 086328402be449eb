"""Routes of health, metrics and documentation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from shutil import disk_usage

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.staticfiles import StaticFiles

from service.api.deps import StateDep, is_open
from service.api.guard import OPEN
from service.api.schemas.operations import ReadyOut
from service.errors import NotReady, RetryLater
from service.state import State
from service.store.errors import StoreError
from service.telemetry import by_worker

# Less than the time in which Prometheus gives up a scrape.
READINESS_S = 3.0

router = APIRouter(tags=["operations"])


@router.get("/health/live", openapi_extra=OPEN)
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@router.get(
    "/health/ready",
    response_model=ReadyOut,
    responses={503: {"description": "not ready", "model": ReadyOut}},
    openapi_extra=OPEN,
)
async def ready(state: StateDep) -> JSONResponse:
    """200 only when the active space is loaded, warm, and its gallery has caught up."""
    try:
        body = await _counted_readiness(state)
    except RetryLater as error:
        body = ReadyOut(status="not_ready", detail=error.detail)
        return JSONResponse(body.model_dump(), status_code=503, headers=error.headers())
    return JSONResponse(body.model_dump())


async def _counted_readiness(state: State) -> ReadyOut:
    """What `readiness` says, also as metrics. Raises NotReady or Draining."""
    try:
        body = await readiness(state)
    except RetryLater:
        state.metrics.ready.set(0)
        raise
    state.metrics.ready.set(1)
    state.metrics.degraded.set(body.status == "degraded")
    return body


async def readiness(state: State) -> ReadyOut:
    """Checks that the service can match. Raises NotReady or Draining with the reason."""
    space = state.space()
    try:
        behind = await space.behind(state.db)
        open_access = await is_open(state)
    except StoreError as error:
        raise NotReady("the database does not answer") from error
    if (why := state.registry.active_error) is not None:
        raise NotReady(f"the active space cannot be loaded here: {why}")
    if behind:
        raise NotReady(f"the gallery has {behind} log rows to apply")
    if any(batcher.failed for batcher in space.engine.batchers):
        # The last batch failed: only a working forward pass shows that the batch was at fault.
        try:
            await asyncio.to_thread(space.engine.forward)
        except Exception as error:
            raise NotReady("a network fails; see the log") from error
        for batcher in space.engine.batchers:
            batcher.failed = False
    troubles = []
    if (trouble := state.db.write_trouble) is not None:
        troubles.append(f"{trouble}: enrolment is refused, matching works")
    if state.db.refused:
        troubles.append(f"{state.db.refused}: see the log, and restore them from a backup")
    return ReadyOut(
        status="degraded" if troubles else "ready",
        detail="; ".join(troubles) or None,
        space_id=space.space_id,
        bundle=f"{space.manifest.name} {space.manifest.version}",
        provider=space.engine.provider,
        templates=space.gallery.size,
        open_access=open_access,
    )


@router.get("/metrics", response_class=Response, openapi_extra=OPEN)
async def metrics(state: StateDep) -> Response:
    """Prometheus text format."""
    text = await own_metrics(state)
    if (line := state.line) is not None:
        text = by_worker({**await line.ask(), line.worker: text}, line.workers)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


async def own_metrics(state: State) -> bytes:
    """The metrics of this process."""
    # Looked at now: what an earlier question found may be long past. A database that hangs must not hide
    # everything else.
    try:
        async with asyncio.timeout(READINESS_S):
            await _counted_readiness(state)
    except TimeoutError:
        state.metrics.ready.set(0)
    except RetryLater:
        pass
    with suppress(OSError):
        state.metrics.disk_free.set((await asyncio.to_thread(disk_usage, state.settings.data_dir)).free)
    if (space := state.registry.active) is not None:
        state.metrics.templates.set(space.gallery.size)
        for batcher in space.engine.batchers:
            state.metrics.waiting.labels(batcher.name).set(batcher.depth)
    return state.metrics.text()


def install_docs(app: FastAPI) -> None:
    """Serves Swagger UI from a package, not from a CDN, so that it works in a closed network."""
    resources = Path(str(files("fastapi_swagger").joinpath("resources")))
    app.mount("/docs/assets", StaticFiles(directory=resources), name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title="Halflight",
            swagger_js_url=f"{root}/docs/assets/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs/assets/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs/assets/favicon-32x32.png",
        )
