"""The service beside the bare pipeline, under load that comes at its own pace; networks by batch size."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.identify import BarePipeline, Served, photos, run_clients
from benchmarks.offered import Answers, at_random, even, offer
from benchmarks.ratios.figures import Aim, Figure, Side
from benchmarks.variants import BATCHES as VARIANT_BATCHES
from benchmarks.variants import NAMES as VARIANTS
from benchmarks.variants import bf16_runs, files, inputs, rendered, timed
from faces.bundle import read
from faces.image import DecodeLimits, decode
from faces.types import Role
from service.inference.engine import Engine, EngineOptions
from service.settings import Settings, builtin_bundle
from training.networks.onnx_runner import BatchRunner

BATCHES = (1, 2, 4, 8, 16, 32)
# Callers at which the service and the bare pipeline reach what they can.
CALLERS = (8, 16)
WARM_UP = 20


def service(folder: Path, rounds: int, requests: int) -> tuple[str, tuple[Figure, ...]]:
    """`requests`: of each run. Returns how it was measured, and the figures."""
    data, bare, cores = photos(None, 100), BarePipeline(Settings()), os.cpu_count() or 1
    one, several = Served(folder / "one"), Served(folder / "several", HALFLIGHT_WORKERS=str(cores))
    try:
        ways: dict[str, Callable[[bytes], None]] = {
            "bare": bare.identify,
            "one": one.identify,
            "several": several.identify,
        }
        for call in ways.values():
            run_clients(call, data, WARM_UP, 4)
        laps = [_saturated(ways, data, requests) for _ in range(rounds)]
        rates = {name: statistics.median(lap[name] for lap in laps) for name in ways}
        peak, rng = rates["one"], np.random.default_rng(0)
        evenly = [offer(one.identified, data, even(peak / 2, requests)) for _ in range(rounds)]
        randomly = [offer(one.identified, data, at_random(peak / 2, requests, rng)) for _ in range(rounds)]
        twice = [offer(one.identified, data, even(2 * peak, 4 * requests)) for _ in range(rounds)]
    finally:
        one.stop()
        several.stop()
    other = Side("bare pipeline", rates["bare"], "photos/s")
    aim = Aim("ratio", "least", 0.95)
    goodput = statistics.median(run.goodput for run in twice)
    figures = (
        Figure("saturation", Side("service over HTTP", peak, "photos/s"), other, "this/other", aim),
        Figure(
            f"saturation, {cores} workers",
            Side("service over HTTP", rates["several"], "photos/s"),
            other,
            "this/other",
            aim,
        ),
        _spread("half load, evenly", evenly),
        _spread("half load, at random (Poisson)", randomly),
        Figure(
            "goodput at twice capacity",
            Side("offered twice the peak", goodput, "photos/s"),
            Side("peak", peak, "photos/s"),
            "this/other",
            aim,
        ),
    )
    how = (
        f"{len(data)} rendered photos, empty gallery; medians of {rounds} rounds of {requests} requests, the"
        f" best of {' and '.join(map(str, CALLERS))} callers at saturation, where all ways take turns; p50"
        " and p99 over all rounds. Callers run on the same machine. A call's time runs from when it was due."
    )
    return how, figures


def _saturated(
    ways: Mapping[str, Callable[[bytes], None]], data: Sequence[bytes], requests: int
) -> dict[str, float]:
    """The best rate of each way over the numbers of callers."""
    best = dict.fromkeys(ways, 0.0)
    for callers in CALLERS:
        for name, call in ways.items():
            best[name] = max(best[name], run_clients(call, data, requests, callers).rate)
    return best


def _spread(what: str, runs: Sequence[Answers]) -> Figure:
    ms = 1000 * np.concatenate([run.seconds[run.taken] for run in runs])
    p50, p99 = (float(np.percentile(ms, share)) for share in (50, 99))
    aim = Aim("ratio", "most", 2.0)
    return Figure(what, Side("p99", p99, "ms"), Side("p50", p50, "ms"), "this/other", aim)


def encoders(rounds: int, crops: int) -> tuple[str, tuple[Figure, ...]]:
    """The built-in encoder of probes in smaller variants beside fp32. `crops`: fix the ranges of int8."""
    bundle = read(builtin_bundle())
    shown = rendered(bundle)
    shown = shown[:: max(1, len(shown) // crops)]
    with tempfile.TemporaryDirectory() as folder:
        made = files(bundle, "probe", Path(folder), shown)
        runners = {name: BatchRunner(path, threads=1) for name, path in made.items()}
        laps = {size: timed(runners, inputs(bundle, shown[:size]), 5 * rounds) for size in VARIANT_BATCHES}
    figures = tuple(
        Figure(
            f"encoder of probes, batch {size}",
            Side(name, ms[name], "ms a crop"),
            Side("fp32", ms["fp32"], "ms a crop"),
            "other/this",
        )
        for size, ms in laps.items()
        for name in VARIANTS[1:]
    )
    how = (
        f"Bundle {bundle.manifest.name}, one thread; medians of {5 * rounds} rounds in turn; int8 takes its"
        f" ranges from {len(shown)} crops of rendered faces. bf16: {bf16_runs() or 'ONNX Runtime takes it'}."
    )
    return how, figures


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
