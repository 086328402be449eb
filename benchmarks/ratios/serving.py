"""The service beside the bare pipeline, under load that comes at its own pace; networks by batch size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.identify import BarePipeline, Load, Served, photos, run_clients
from benchmarks.offered import Answers, at_random, even, offer
from benchmarks.ratios.figures import Aim, Figure, Side
from faces.bundle import read
from faces.image import DecodeLimits, decode
from faces.types import Role
from service.inference.engine import Engine, EngineOptions
from service.settings import Settings

BATCHES = (1, 2, 4, 8, 16, 32)
# Callers at which the service and the bare pipeline reach what they can.
CALLERS = (4, 8, 16)
WARM_UP = 20


def service(folder: Path, rounds: int, requests: int, **env: str) -> tuple[str, tuple[Figure, ...]]:
    """`requests`: of each run. Returns how it was measured, and the figures."""
    data, bare = photos(None, 100), BarePipeline(Settings())
    served = Served(folder / "data", **env)
    try:
        for call in (bare.identify, served.identify):
            run_clients(call, data, WARM_UP, 2)
        pairs = [_saturated(bare, served, data, requests) for _ in range(rounds)]
        peak = statistics.median(load.rate for _, load in pairs)
        rng = np.random.default_rng(0)
        halves = [offer(served.identified, data, even(peak / 2, requests)) for _ in range(rounds)]
        randoms = [offer(served.identified, data, at_random(peak / 2, requests, rng)) for _ in range(rounds)]
        twice = [offer(served.identified, data, even(2 * peak, 4 * requests)) for _ in range(rounds)]
    finally:
        served.stop()
    bare_rate = statistics.median(load.rate for load, _ in pairs)
    goodput = statistics.median(one.goodput for one in twice)
    figures = (
        Figure(
            "saturation",
            Side("service over HTTP", peak, "photos/s"),
            Side("bare pipeline", bare_rate, "photos/s"),
            "this/other",
            Aim("ratio", "least", 0.95),
        ),
        _spread("half load, evenly", halves, Aim("ratio", "most", 2.0)),
        _spread("half load, at random (Poisson)", randoms, Aim("ratio", "most", 2.0)),
        Figure(
            "goodput at twice capacity",
            Side("offered twice the peak", goodput, "photos/s"),
            Side("peak", peak, "photos/s"),
            "this/other",
            Aim("ratio", "least", 0.95),
        ),
    )
    how = (
        f"{len(data)} rendered photos, empty gallery; medians of {rounds} rounds of {requests} requests, the"
        f" best of {', '.join(map(str, CALLERS))} callers at saturation, where service and bare pipeline take"
        " turns."
        " Callers run on the same machine. A call's time runs from when it was due."
    )
    return how, figures


def _saturated(bare: BarePipeline, served: Served, data: list[bytes], requests: int) -> tuple[Load, Load]:
    """The best of each over the numbers of callers."""
    runs = [
        (run_clients(bare.identify, data, requests, n), run_clients(served.identify, data, requests, n))
        for n in CALLERS
    ]
    return max((one for one, _ in runs), key=_rate), max((one for _, one in runs), key=_rate)


def _rate(load: Load) -> float:
    return load.rate


def _spread(what: str, runs: list[Answers], aim: Aim) -> Figure:
    p99, p50 = (statistics.median(one.percentile_ms(share) for one in runs) for share in (99, 50))
    return Figure(what, Side("p99", p99, "ms"), Side("p50", p50, "ms"), "this/other", aim)


def batches(rounds: int) -> tuple[str, tuple[Figure, ...]]:
    """The detector and the encoder of the built-in bundle, by faces or photos in one pass."""
    settings = Settings()
    engine = Engine.load(read(settings.bundle_dir), EngineOptions.of(settings))
    limits = DecodeLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    prepared = engine.detector.prepare(decode(photos(None, 1)[0], limits=limits))
    spec = engine.manifest.encoder
    face = np.random.default_rng(0).standard_normal((3, *spec.input_px), np.float32)
    networks: dict[str, Callable[[int], object]] = {
        "encoder": lambda n: engine.encoder.run([(Role.PROBE, face)] * n),
        "detector": lambda n: engine.detector.run([prepared] * n),
    }
    taken: dict[tuple[str, int], list[float]] = {(name, n): [] for name in networks for n in BATCHES}
    for lap in range(rounds + 1):
        for name, run in networks.items():
            for n in BATCHES:
                began = time.perf_counter()
                run(n)
                if lap:
                    taken[name, n].append(n / (time.perf_counter() - began))
    rates = {key: statistics.median(values) for key, values in taken.items()}
    figures = tuple(
        Figure(
            f"{name}, batch {n}",
            Side(f"{n} in one pass", rates[name, n], "a second"),
            Side("one in a pass", rates[name, 1], "a second"),
            "this/other",
        )
        for name in networks
        for n in BATCHES[1:]
    )
    return (
        f"Networks of the bundle {engine.manifest.name} alone; medians of {rounds} rounds in turn.",
        figures,
    )
