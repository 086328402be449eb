"""The event loop's lateness is measured, whether a callback computes or only waits."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import httpx

from service.loop_lag import LoopLag
from tests.conftest import Service


async def seen_during(block_s: float, *, computing: bool) -> tuple[LoopLag, list[tuple[float, float]]]:
    """Blocks the loop once; returns the watch and what it observed."""
    watch, seen = LoopLag(), list[tuple[float, float]]()
    task = asyncio.create_task(watch.watch(lambda lag, busy: seen.append((lag, busy))))
    await asyncio.sleep(0.05)
    end = time.thread_time() + block_s
    if computing:
        while time.thread_time() < end:
            pass
    else:
        time.sleep(block_s)  # noqa: ASYNC251 - the fault that is to be seen
    await asyncio.sleep(0.05)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return watch, seen


async def test_a_callback_that_computes_is_seen_as_lateness_and_as_computing() -> None:
    watch, seen = await seen_during(0.3, computing=True)
    # The beat was due within 20 ms of the block's begin.
    assert max(lag for lag, _ in seen) >= 0.28
    assert max(busy for _, busy in seen) >= 0.28
    assert watch.worst_lag_s == max(lag for lag, _ in seen)
    assert watch.worst_busy_s == max(busy for _, busy in seen)


async def test_a_callback_that_waits_is_late_without_computing() -> None:
    watch, _ = await seen_during(0.3, computing=False)
    assert watch.worst_lag_s >= 0.28
    assert watch.worst_busy_s < 0.28


def test_metrics_show_the_lateness_of_the_loop(builtin: Service) -> None:
    lines = httpx.get(f"{builtin.url}/metrics", timeout=60).text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("halflight_event_loop_"))
    beats = float(values["halflight_event_loop_lag_seconds_count"])
    assert beats > 0
    assert float(values["halflight_event_loop_busy_seconds_count"]) == beats
    assert float(values["halflight_event_loop_lag_max_seconds"]) >= 0
    assert float(values["halflight_event_loop_busy_max_seconds"]) >= 0
