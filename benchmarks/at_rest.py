"""Whether a service that has nothing to do holds as much memory after many requests as after few.

`python -m benchmarks.at_rest --rounds 6 --requests 10000` sends the mixed load of `benchmarks.soak` in
rounds, as fast as it is answered, and looks after each when the service has rested for so long that free
memory went back (once a minute). Then no photo is under way and no batch waits, so what grows from round to
round is what the service does not let go. Prints each look, and the slope of resident memory for 10,000
requests with its 95 % interval (least squares over the rounds, Student's t); the first round is warm-up.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hostile import MIB, Served
from benchmarks.soak import BURST_S, SENDERS, Mix, capacity

# Free memory goes back each minute; a second more for the pass under way.
REST_S = 70.0
CALLERS = 6
SLICE_S = 10.0


@dataclass(frozen=True)
class Look:
    """What a service held at rest, `requests` after it began."""

    requests: int
    service_mib: float
    anonymous_mib: float
    workers_mib: float
    files: int
    database_mib: float


def look(served: Served, data: Path, requests: int) -> Look:
    service, workers = served.resident_mib()
    pid = served.process.pid
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    anonymous = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return Look(
        requests=requests,
        service_mib=round(service, 1),
        anonymous_mib=round(anonymous / 1024, 1),
        workers_mib=round(workers, 1),
        files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        database_mib=round(sum(path.stat().st_size for path in data.glob("*.db*")) / MIB, 1),
    )


def slope(looks: Sequence[Look]) -> tuple[float, float, float]:
    """MiB for 10,000 requests and the ends of its 95 % interval; needs three looks."""
    from scipy.stats import linregress, t  # type: ignore[import-untyped]

    fit = linregress([one.requests / 10_000 for one in looks], [one.service_mib for one in looks])
    margin = float(t.ppf(0.975, len(looks) - 2)) * float(fit.stderr)
    return float(fit.slope), float(fit.slope) - margin, float(fit.slope) + margin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=10_000, help="of each round")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.rounds < 4 or asked.requests < 1:  # three looks after the warm-up
        parser.error("a slope needs four rounds or more, of at least one request")
    with tempfile.TemporaryDirectory() as folder:
        served = Served(Path(folder))
        try:
            run(served, Path(folder), asked)
        finally:
            served.stop()


def run(served: Served, data: Path, asked: argparse.Namespace) -> None:
    mix, draw = Mix(served), random.Random(asked.seed)  # noqa: S311 - a seed makes the run repeatable
    mix.fill()
    capacity(mix, draw, BURST_S, SENDERS)
    begun, looks = sum(mix.statuses.values()), []
    for number in range(1, asked.rounds + 1):
        while sum(mix.statuses.values()) - begun < number * asked.requests:
            capacity(mix, draw, SLICE_S, CALLERS)
        time.sleep(REST_S)
        looks.append(look(served, data, sum(mix.statuses.values()) - begun))
        print(looks[-1], flush=True)
    print(dict(mix.statuses))
    fit, low, high = slope(looks[1:])
    print(f"{fit:+.2f} MiB for 10,000 requests ({low:+.2f} to {high:+.2f})")
    held = [one.service_mib for one in looks[1:]]
    print(f"between the lowest and the highest look: {max(held) - min(held):.1f} MiB")


if __name__ == "__main__":
    main()
