"""create_app(settings): the parts wired together, loaded in the background, drained at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service import background
from service.api import datasets, jobs, operations, problems, recognition, schemas, spaces, subjects
from service.background import WhenLoaded
from service.bundle_origin import BundleOrigin
from service.bundles import BundleStore
from service.comparison import Comparer
from service.crops import vault as crop_vault
from service.enrolment import Enroller
from service.intake import Intake
from service.jobs.queue import JobQueue
from service.jobs.start import evaluator_of, retrainer_of, runner_of, uploads_of
from service.keys import KeyRing
from service.limits import Admission, RateLimiter
from service.middleware import AccessLog, BodyLimit
from service.settings import Settings
from service.space_admin import SpaceAdmin
from service.space_filler import SpaceFiller
from service.spaces import SpaceRegistry
from service.state import State
from service.store.database import Database
from service.telemetry import Metrics

log = structlog.get_logger("halflight.app")

SETTLE_POLLS = 3


def create_app(settings: Settings, *, when_loaded: WhenLoaded | None = None) -> FastAPI:
    """The ASGI application. `when_loaded` is called once, ready or failed (see State.failure)."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = await _open(settings, metrics)
        app.state.halflight = state
        tasks = background.start(state, when_loaded)
        try:
            yield
        finally:
            state.draining = True
            await background.stop(tasks)
            await state.registry.close()
            state.intake.close()
            await state.db.close()

    app = FastAPI(
        title="Halflight",
        version=version("halflight"),
        summary="Match masked near-infrared faces against visible-light enrolment photos.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    for part in (recognition, subjects, operations, spaces, jobs, datasets):
        app.include_router(part.router)
    operations.install_docs(app)
    problems.install(app)
    larger = {datasets.UPLOAD_PATH: settings.max_archive_bytes}
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, larger=larger)
    app.add_middleware(AccessLog, metrics=metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


async def _open(settings: Settings, metrics: Metrics) -> State:
    """Everything but the models, which load while `/health/live` answers already."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    db = await Database.open(settings.sqlalchemy_url)
    await db.migrate()
    intake, admission = Intake(settings), Admission(settings.max_requests)
    metrics.in_flight.set_function(lambda: admission.in_flight)
    vault = crop_vault(settings.given_crop_key, settings.data_dir)
    async with db.read() as uow:
        if lost := await uow.crops.under_other_keys(vault.key_id):
            log.warning("kept crops do not open with this key", crops=lost, key_id=vault.key_id)
    registry = SpaceRegistry(db, bundle_store(settings))
    filler = SpaceFiller(
        db, registry, vault, busy=lambda: admission.in_flight > 0, poll_s=settings.log_poll_s
    )
    admin = SpaceAdmin(
        db, registry, filler, settle_s=SETTLE_POLLS * settings.log_poll_s, bundle_key=settings.bundle_key
    )
    queue = JobQueue(db)
    return State(
        settings=settings,
        db=db,
        keys=KeyRing(db),
        registry=registry,
        filler=filler,
        spaces=admin,
        jobs=queue,
        runner=runner_of(settings, db, registry, admin, vault),
        retrainer=retrainer_of(settings, queue),
        evaluator=evaluator_of(settings, queue),
        uploads=uploads_of(settings, db, queue),
        intake=intake,
        enroller=Enroller(db, intake, registry, vault, settings, schemas.enrol_answer),
        comparer=Comparer(db, intake, max_faces=settings.max_faces),
        admission=admission,
        limiter=RateLimiter(rate_per_s=settings.rate_limit_per_s, burst=settings.rate_limit_burst),
        metrics=metrics,
    )


def bundle_store(settings: Settings) -> BundleStore:
    """The registry of bundles, with the origin that is configured. Raises OriginError."""
    if settings.bundle_url is None:
        return BundleStore(settings.bundle_registry)
    token = None if settings.bundle_token is None else settings.bundle_token.get_secret_value()
    origin = BundleOrigin(settings.bundle_url.get_secret_value(), token=token)
    return BundleStore(settings.bundle_registry, origin, publish=settings.bundle_publish)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with the problem schema and the keys that it cannot know of."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})["Problem"] = problems.PROBLEM_DEFINITION
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        app.openapi_schema = document
    return app.openapi_schema
