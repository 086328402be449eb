"""What a replica does beside answering: loads, follows the database, runs jobs, purges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from faces import bundle
from service.crops import purge_crops
from service.inference.batcher import Observe
from service.inference.engine import EngineOptions
from service.state import State
from service.store.errors import StoreError

log = structlog.get_logger("halflight.background")

IDEMPOTENCY_KEPT = timedelta(hours=24)
PURGE_EVERY_S = 3600.0
WhenLoaded = Callable[[State], None]
Tasks = Sequence[asyncio.Task[None]]


def start(state: State, when_loaded: WhenLoaded | None = None) -> Tasks:
    """Begin everything; `state.loading` is the task that loads the models."""
    state.loading = asyncio.create_task(_load(state, when_loaded), name="load")
    feed = _every_poll(state, lambda: _feed(state), waits="feed waits for the database")
    # Whoever changes a space here sees to it there and then; this is for what others change.
    follow = _every_poll(state, state.registry.follow, waits="spaces wait for the database")
    return [
        state.loading,
        asyncio.create_task(feed, name="feed"),
        asyncio.create_task(follow, name="follow"),
        asyncio.create_task(_purge(state), name="purge"),
        asyncio.create_task(_run_jobs(state), name="jobs"),
    ]


async def stop(tasks: Tasks) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _load(state: State, when_loaded: WhenLoaded | None) -> None:
    settings = state.settings

    def observe(network: str) -> Observe:
        histogram = state.metrics.batches.labels(network)
        return lambda items: histogram.observe(items)

    options = EngineOptions.of(settings)
    try:
        await state.registry.open(bundle.read(settings.bundle_dir), options, observe=observe)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, `serve` reports it and ends
        state.failure = error
    if when_loaded is not None:
        when_loaded(state)


async def _every_poll(state: State, act: Callable[[], Awaitable[None]], *, waits: str) -> None:
    """Once in every poll of the log, as soon as something serves; a database that is away is waited for."""
    while True:
        await asyncio.sleep(state.settings.log_poll_s)
        if state.registry.active is None:
            continue
        try:
            await act()
        except StoreError as error:
            log.warning(waits, cause=type(error.__cause__).__name__)


async def _feed(state: State) -> None:
    """Apply what other replicas wrote; this process's own writes are applied before their answer."""
    space = state.registry.active
    assert space is not None  # noqa: S101 - the poll asked
    state.metrics.behind.set(await space.behind(state.db))
    await space.catch_up(state.db)
    state.metrics.behind.set(0)


async def _run_jobs(state: State) -> None:
    """Run jobs as soon as this process serves, unless it is told to leave them to others."""
    assert state.loading is not None  # noqa: S101 - set before this task runs
    await asyncio.wait([state.loading])
    if state.registry.active is not None and state.settings.run_jobs:
        await state.runner.serve()


async def _purge(state: State) -> None:
    """Forget stored answers of old Idempotency-Keys, crops that may be kept no longer, and half uploads."""
    while True:
        await asyncio.to_thread(state.uploads.sweep)
        with suppress(StoreError):
            async with state.db.write() as uow:
                await uow.idempotency.purge(datetime.now(UTC) - IDEMPOTENCY_KEPT)
                await purge_crops(uow, keep=state.settings.keep_crops, days=state.settings.crop_days)
                await uow.commit()
        await asyncio.sleep(PURGE_EVERY_S)
