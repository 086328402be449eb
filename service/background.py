"""What a replica does beside answering: loads, follows the database, runs jobs, purges, watches its loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from faces import bundle
from service.allocator import give_back
from service.bulk.erasure import look_through
from service.bulk.request import BULK
from service.inference.batcher import Observe
from service.inference.engine import EngineOptions
from service.loop_lag import LoopLag
from service.retention import erase_expired, erase_expired_subjects, expire_events, expire_probes
from service.retraining.request import EVALUATE
from service.state import State
from service.store.errors import StoreError
from service.store.job_records import FINAL

log = structlog.get_logger("halflight.background")

PURGE_EVERY_S = 3600.0
PROBES_EVERY_S = 600.0
MINUTE_S = 60.0
WhenLoaded = Callable[[State], None]
Tasks = Sequence[asyncio.Task[None]]


def start(state: State, when_loaded: WhenLoaded | None = None) -> Tasks:
    """Starts every background task and sets `state.loading`, the task that loads the models."""
    state.loading = asyncio.create_task(_load(state, when_loaded), name="load")
    feed = _every_poll(state, lambda: _feed(state), waits="feed waits for the database")
    # A change of a space in this process is followed at once; this follows those of other replicas.
    follow = _every_poll(state, state.registry.follow, waits="spaces wait for the database")
    return [
        state.loading,
        asyncio.create_task(_watch_loop(state), name="loop lag"),
        asyncio.create_task(feed, name="feed"),
        asyncio.create_task(follow, name="follow"),
        asyncio.create_task(_purge(state), name="purge"),
        asyncio.create_task(_every_minute(state), name="every minute"),
        asyncio.create_task(_purge_probes(state), name="purge probes"),
        asyncio.create_task(_run_jobs(state), name="jobs"),
        asyncio.create_task(_keep_snapshots(state), name="snapshots"),
        asyncio.create_task(state.outgoing.run(), name="events"),
        asyncio.create_task(_look_at_seals(state), name="seals"),
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
    except Exception as error:  # noqa: BLE001 - the server reports any error and ends
        state.failure = error
    if when_loaded is not None:
        when_loaded(state)


async def _every_poll(state: State, act: Callable[[], Awaitable[None]], *, waits: str) -> None:
    """Calls `act` once in every poll of the log, once a space is active; goes on after a StoreError."""
    while True:
        await asyncio.sleep(state.settings.log_poll_s)
        if state.registry.active is None:
            continue
        try:
            await act()
        except StoreError as error:
            log.warning(waits, cause=type(error.__cause__).__name__)


async def _feed(state: State) -> None:
    """Applies what other replicas wrote; this process applies its own writes before it answers."""
    space = state.registry.active
    assert space is not None  # noqa: S101 - `_every_poll` checked it
    state.metrics.behind.set(await space.behind(state.db))
    await space.catch_up(state.db)
    state.metrics.behind.set(0)


async def _look_at_seals(state: State) -> None:
    """Lets the active space refuse templates that do not open, if its gallery has not met them."""
    assert state.loading is not None  # noqa: S101 - set before this task runs
    await asyncio.wait([state.loading])
    if (space := state.registry.active) is not None:
        try:
            await space.look_at_seals(state.db)
        except StoreError as error:
            log.warning("seals were not looked at", cause=type(error.__cause__).__name__)


async def _run_jobs(state: State) -> None:
    """Runs jobs once a space is active, unless the settings leave them to other replicas."""
    assert state.loading is not None  # noqa: S101 - set before this task runs
    await asyncio.wait([state.loading])
    if state.registry.active is not None and state.settings.run_jobs:
        await state.runner.serve()


async def _keep_snapshots(state: State) -> None:
    """Looks through the stored templates after a start from a snapshot; writes snapshots of galleries."""
    snapshots = state.registry.snapshots
    if snapshots is None:
        return
    while True:
        await asyncio.sleep(state.settings.snapshot_s)
        await snapshots.pass_over(state.registry.loaded)


async def _watch_loop(state: State) -> None:
    lag, metrics = LoopLag(), state.metrics
    metrics.loop_lag_max.set_function(lambda: lag.worst_lag_s)
    metrics.loop_busy_max.set_function(lambda: lag.worst_busy_s)
    await lag.watch(metrics.observe_loop)


async def _every_minute(state: State) -> None:
    """Stores when keys were last used, and the numbers of repeated refusals; gives memory back."""
    while True:
        await asyncio.sleep(MINUTE_S)
        await asyncio.to_thread(give_back)
        state.refusals.sweep()
        with suppress(StoreError):
            await state.keys.store_last_use()


async def _purge(state: State) -> None:
    """Erases answers of old Idempotency-Keys, crops and subjects past their time, abandoned uploads and
    old reports."""
    while True:
        await asyncio.to_thread(state.uploads.remove_abandoned)
        try:
            await look_through(state.db, state.settings.data_dir)
            unfinished = [job for job in await state.jobs.page(None, 1000) if job.state not in FINAL]
            in_use = [str(job.request["upload"]) for job in unfinished if job.kind == BULK]
            await asyncio.to_thread(state.bulk_uploads.remove_abandoned, in_use)
            evaluated = [str(job.request["dataset"]) for job in unfinished if job.kind == EVALUATE]
            await asyncio.to_thread(state.labelled_uploads.remove_abandoned, evaluated)
            async with state.db.write() as uow:
                now = await erase_expired(uow, state.settings, state.signer)
                await uow.commit()
            if now is not None:
                state.metrics.expired_events.inc(await expire_events(state.db, state.settings, now))
                await erase_expired_subjects(state.db, state.settings, now)
        except StoreError as error:
            log.warning("retention waits for the database", cause=type(error.__cause__).__name__)
        await asyncio.sleep(PURGE_EVERY_S)


async def _purge_probes(state: State) -> None:
    """Erases crops of probes past their hours, more often than hours pass."""
    while True:
        with suppress(StoreError):
            async with state.db.write(erasing=True) as uow:
                await expire_probes(uow, state.settings)
                await uow.commit()
        await asyncio.sleep(PROBES_EVERY_S)
