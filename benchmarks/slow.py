"""What 200 slow clients cost others: identify beside them and alone, in turn, in one run.

    python -m benchmarks.slow --blocks 20 --requests 30

Slow clients have a valid key and send a byte of a photo now and then; whom the service ends comes again.
Blocks follow each other as alone, beside, beside, alone, so that a machine that gets slower slows both. The
p99 of either is over all its blocks; the interval of their ratio is of a bootstrap over pairs of blocks.
With `--control` no slow client comes in either: what the ratio is then, the machine made.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from benchmarks.hostile import Served, identify_times, slow_clients

RESAMPLES = 2000


def ratio(
    alone: NDArray[np.float64], beside: NDArray[np.float64], percent: float
) -> tuple[float, float, float]:
    """Of a percentile beside to alone, float64 [blocks, requests] each; with its 95 % interval."""

    def of(blocks: NDArray[np.intp]) -> float:
        return float(np.percentile(beside[blocks], percent) / np.percentile(alone[blocks], percent))

    draw, count = np.random.default_rng(0), len(alone)
    drawn = [of(draw.integers(count, size=count)) for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return of(np.arange(count)), float(low), float(high)


def measure(
    served: Served, blocks: int, requests: int, clients: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds of each request, alone and beside, float64 [blocks, requests] each."""
    taken: dict[bool, list[list[float]]] = {False: [], True: []}
    order = [
        slow for number in range(blocks) for slow in ((False, True) if number % 2 == 0 else (True, False))
    ]
    identify_times(served, 10)
    for slow in track(order, "blocks", console=Console(stderr=True)):
        with slow_clients(served, clients) if slow and clients else nullcontext():
            taken[slow].append(identify_times(served, requests))
    return np.array(taken[False]), np.array(taken[True])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--requests", type=int, default=30)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--control", action="store_true")
    asked = parser.parse_args()
    clients = 0 if asked.control else asked.clients
    with tempfile.TemporaryDirectory(prefix="halflight-slow-") as folder:
        served = Served(Path(folder) / "data")
        try:
            alone, beside = measure(served, asked.blocks, asked.requests, clients)
        finally:
            served.stop()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}; {alone.size} requests each")
    for percent in (50, 99):
        there, low, high = ratio(alone, beside, percent)
        ms = [1000 * float(np.percentile(each, percent)) for each in (alone, beside)]
        print(
            f"identify p{percent}: {ms[0]:.0f} ms alone, {ms[1]:.0f} ms beside {clients} slow clients,"
            f" ratio {there:.2f} (95 % interval {low:.2f} to {high:.2f})"
        )


if __name__ == "__main__":
    main()
