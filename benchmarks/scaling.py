"""What a number of templates and probes needs: arithmetic from measured costs, and a simulation of shards.

    python -m benchmarks.scaling [--templates 1e6 1e7 1e8] [--probes 10 1000] [--price-core-hour 0.04]

Nothing is measured here. The costs are those of `docs/performance.md`, on two hyperthreads of one core; what
is assumed beside them stands in `Assumed`, and each may be given on the command line. The simulation
follows probes one by one: a pool that decodes and describes them, then every shard, then the slowest
answer. A free shard takes what waits, up to `batch`, as the service's gallery does. No shard is asked twice.

**Halflight has no shards today**: each replica's embedded gallery holds every template. The rows with more
than one shard say what it would take, not what can be installed.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Standard deviations between the median and the 99th percentile of a normal distribution.
Z99 = 2.326347874040841
MEASURED_CORES = 2
HEAD = (
    "| templates | probes/s | replicas | GB each | full batch, ms | an hour | pool + shards | GB a shard"
    " | p50, ms | p99, ms | an hour | sealed rows, GB | database, GB |\n|" + "---|" * 13
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Costs from `docs/performance.md`: times on `MEASURED_CORES` hyperthreads, searches over a million
    templates.

    `service_photos_s`: probes a second at saturation, with a small gallery; `photo_ms`, `photo_p99_ms`: one
    after another; `search_1_ms`, `search_32_ms`: one probe, 32 probes together; `memory_bytes`: of the
    process for one template; `sealed_bytes`: in the file of sealed rows; `base_bytes`: of a process with few
    templates; `sample_bytes`: of the database for one enrolled photo with its crop.
    """

    service_photos_s: float = 41.5
    photo_ms: float = 29.0
    photo_p99_ms: float = 37.2
    search_1_ms: float = 19.7
    search_32_ms: float = 186.0
    memory_bytes: float = 708.0
    sealed_bytes: float = 2064.0
    base_bytes: float = 600.0 * (1 << 20)
    sample_bytes: float = 64_914.0


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is not measured. `cores`: hyperthreads of one machine; `memory_gb`: its memory; `efficiency`: how
    much of them a search over all cores gets, of what as many pairs would; `load`: how busy machines are
    planned to be; `batch`: most probes that one pass searches together; `longest_search_ms`: of one probe
    in one shard; `hop_ms`: to a shard and back."""

    cores: int = 16
    memory_gb: float = 64.0
    efficiency: float = 0.7
    load: float = 0.6
    batch: int = 32
    longest_search_ms: float = 100.0
    hop_ms: float = 0.5
    price_core_hour: float = 0.04


@dataclass(frozen=True, slots=True)
class Plan:
    """What one case takes.

    `replicas`: machines as Halflight is today, each with every template, its memory, whether a machine has so
    much, and the time of a full batch. `pool_machines` describe probes, `shards` are machines that search a
    part each; `p50_ms`, `p99_ms`: simulated.
    """

    templates: float
    probes_s: float
    replicas: int
    memory_gb_a_replica: float
    replica_fits: bool
    full_batch_ms: float
    replicas_price_hour: float
    pool_machines: int
    shards: int
    memory_gb_a_shard: float
    shards_price_hour: float
    sealed_gb: float
    database_gb: float
    p50_ms: float
    p99_ms: float
    busiest_shard: float


def search_ms(measured: Measured, assumed: Assumed, templates: float, probes: int) -> float:
    """Time in which one shard searches `probes` together: linear in both, between the measured batches."""
    step = (measured.search_32_ms - measured.search_1_ms) / 31
    pairs = assumed.cores / MEASURED_CORES * assumed.efficiency
    return (measured.search_1_ms + step * (probes - 1)) * templates / 1e6 / pairs


def shards_for(measured: Measured, assumed: Assumed, templates: float, probes_s: float) -> int:
    """Fewest machines that hold the templates and are busy for `load` of the time at most."""
    room = (assumed.memory_gb * 1e9 * 0.8 - measured.base_bytes) / measured.memory_bytes
    shards = math.ceil(templates / room)
    full = assumed.batch * 1000 / search_ms(measured, assumed, templates, assumed.batch)
    quick = math.ceil(search_ms(measured, assumed, templates, 1) / assumed.longest_search_ms)
    return max(1, shards, quick, math.ceil(probes_s / full / assumed.load))


def pool_for(measured: Measured, assumed: Assumed, probes_s: float) -> int:
    """Fewest machines that describe the probes."""
    a_machine = measured.service_photos_s * assumed.cores / MEASURED_CORES
    return max(1, math.ceil(probes_s / a_machine / assumed.load))


def replicas_for(measured: Measured, assumed: Assumed, templates: float, probes_s: float) -> int:
    """Fewest replicas that describe and search the probes, each over all templates in full batches."""
    describe = 1000 / measured.service_photos_s / (assumed.cores / MEASURED_CORES)
    search = search_ms(measured, assumed, templates, assumed.batch) / assumed.batch
    return max(1, math.ceil(probes_s * (describe + search) / 1000 / assumed.load))


def spread(rng: np.random.Generator, measured: Measured, size: int) -> Floats:
    """Factors around 1, log-normal with the spread of measured requests from the median to the 99th
    percentile."""
    sigma = math.log(measured.photo_p99_ms / measured.photo_ms) / Z99
    return np.asarray(np.exp(rng.normal(0.0, sigma, size)), np.float64)


def through_pool(arrivals: Floats, service: Floats, servers: int) -> Floats:
    """When each probe leaves `servers` servers with one queue."""
    free = [0.0] * servers
    done = np.empty_like(arrivals)
    for place, (at, takes) in enumerate(zip(arrivals.tolist(), service.tolist(), strict=True)):
        end = max(at, free[0]) + takes
        heapq.heapreplace(free, end)
        done[place] = end
    return done


def through_shard(arrivals: Floats, takes_ms: Floats, factors: Floats) -> tuple[Floats, float]:
    """When each probe leaves one shard, and how long it was busy. `takes_ms`: of 1, 2, ... probes together.

    `arrivals` rise. `factors`: of each search in turn, at least as many as there are arrivals.
    """
    done, times = np.empty_like(arrivals), arrivals.tolist()
    place, free, busy, turn = 0, 0.0, 0.0, 0
    while place < len(times):
        start = max(free, times[place])
        end = min(int(np.searchsorted(arrivals, start, side="right")), place + len(takes_ms))
        takes = float(takes_ms[end - place - 1] * factors[turn])
        free = start + takes
        done[place:end] = free
        place, busy, turn = end, busy + takes, turn + 1
    return done, busy


def simulate(
    measured: Measured,
    assumed: Assumed,
    *,
    templates: float,
    probes_s: float,
    pool: int,
    shards: int,
    count: int,
) -> tuple[Floats, float]:
    """Milliseconds from each probe's arrival to its answer, and the busiest shard's share of work."""
    rng = np.random.default_rng(0)
    arrivals = np.cumsum(rng.exponential(1000 / probes_s, count))
    pairs = pool * assumed.cores // MEASURED_CORES
    # Less than at saturation is the time of a probe alone; a pair of cores gets the measured rate out of it.
    described = through_pool(arrivals, 1000 / measured.service_photos_s * spread(rng, measured, count), pairs)
    order = np.argsort(described, kind="stable")
    ready = described[order] + assumed.hop_ms / 2
    takes = np.array(
        [search_ms(measured, assumed, templates / shards, n) for n in range(1, assumed.batch + 1)], np.float64
    )
    last, busiest = np.zeros(count), 0.0
    for _ in range(shards):
        done, busy = through_shard(ready, takes, spread(rng, measured, count))
        last, busiest = np.maximum(last, done), max(busiest, busy / float(done[-1]))
    answered = last + assumed.hop_ms / 2
    # The first tenth finds empty queues.
    return (answered - arrivals[order])[count // 10 :], busiest


def plan(
    measured: Measured, assumed: Assumed, templates: float, probes_s: float, count: int = 20_000
) -> Plan:
    """Machines, memory, money and answer times of one case."""
    pool, shards = pool_for(measured, assumed, probes_s), shards_for(measured, assumed, templates, probes_s)
    taken, busiest = simulate(
        measured, assumed, templates=templates, probes_s=probes_s, pool=pool, shards=shards, count=count
    )
    replicas = replicas_for(measured, assumed, templates, probes_s)
    price = assumed.cores * assumed.price_core_hour
    return Plan(
        templates=templates,
        probes_s=probes_s,
        replicas=replicas,
        memory_gb_a_replica=memory_gb(measured, templates),
        replica_fits=memory_gb(measured, templates) <= 0.8 * assumed.memory_gb,
        full_batch_ms=search_ms(measured, assumed, templates, assumed.batch),
        replicas_price_hour=replicas * price,
        pool_machines=pool,
        shards=shards,
        memory_gb_a_shard=memory_gb(measured, templates / shards),
        shards_price_hour=(pool + shards) * price,
        sealed_gb=templates * measured.sealed_bytes / 1e9,
        database_gb=templates * measured.sample_bytes / 1e9,
        p50_ms=float(np.percentile(taken, 50)),
        p99_ms=float(np.percentile(taken, 99)),
        busiest_shard=busiest,
    )


def memory_gb(measured: Measured, templates: float) -> float:
    return (templates * measured.memory_bytes + measured.base_bytes) / 1e9


def row(one: Plan) -> str:
    """A plan as a row of a table in Markdown."""
    cells = [
        f"{one.templates:,.0f}",
        f"{one.probes_s:g}",
        f"{one.replicas}",
        f"{one.memory_gb_a_replica:.1f}{'' if one.replica_fits else ', too much'}",
    ]
    cells += [f"{one.full_batch_ms:,.0f}", f"{one.replicas_price_hour:,.2f}"]
    cells += [f"{one.pool_machines} + {one.shards}", f"{one.memory_gb_a_shard:.1f}", f"{one.p50_ms:,.0f}"]
    cells += [f"{one.p99_ms:,.0f}", f"{one.shards_price_hour:,.2f}", f"{one.sealed_gb:,.0f}"]
    return f"| {' | '.join([*cells, f'{one.database_gb:,.0f}'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--templates", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--probes", type=float, nargs="+", default=[10.0, 1000.0], help="a second")
    parser.add_argument("--count", type=int, default=20_000, help="probes in a simulation")
    parser.add_argument("--out", type=Path, help="a file for the figures (.json)")
    for kind in (Measured, Assumed):
        for each in fields(kind):
            option = "--" + each.name.replace("_", "-")
            parser.add_argument(
                option, type=type(each.default), default=each.default, help=kind.__name__.lower()
            )
    args = vars(parser.parse_args())
    measured = Measured(**{one.name: args[one.name] for one in fields(Measured)})
    assumed = Assumed(**{one.name: args[one.name] for one in fields(Assumed)})
    plans = [plan(measured, assumed, t, p, args["count"]) for t in args["templates"] for p in args["probes"]]
    for kept in (measured, assumed):
        print(type(kept).__name__, ", ".join(f"{name} {value:g}" for name, value in asdict(kept).items()))
    print(HEAD)
    for one in plans:
        print(row(one))
    if args["out"] is not None:
        figures = {
            "measured": asdict(measured),
            "assumed": asdict(assumed),
            "plans": [asdict(one) for one in plans],
        }
        args["out"].write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
