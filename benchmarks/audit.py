"""Measures the audit log: events a second and waits in both modes, and how fast a chain verifies.

    python -m benchmarks.audit --events 5000 --clients 64

The database is SQLite in a temporary directory, with the durability of the service.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from service.audit.recorder import AuditRecorder
from service.audit.verification import verify_log
from service.sealing.sources import KeyFile, MasterKeys
from service.store.database import Database
from service.store.records import AuditedCandidate, AuditEvent
from service.telemetry import Metrics


def identification(number: int) -> AuditEvent:
    """An event as `/identify` makes it."""
    return AuditEvent(
        at=datetime.now(UTC),
        actor="0123456789ab",
        action="subject.identify",
        subject_id="s1",
        detail={"space_id": "sp", "decision": "match", "threshold": 0.25, "condition": "vis-unmasked"},
        candidates=(AuditedCandidate("s1", number / 1e6, True), AuditedCandidate("s2", 0.1, False)),
    )


async def one_commit_each(db: Database, count: int) -> float:
    """Events a second if each has a transaction of its own, for comparison."""
    started = time.perf_counter()
    for number in range(count):
        async with db.write() as uow:
            await uow.audit.extend([identification(number)])
            await uow.commit()
    return count / (time.perf_counter() - started)


async def measure(db: Database, *, strict: bool, events: int, clients: int) -> tuple[float, list[float]]:
    """Events a second until the last is committed, and how long each caller waited, in milliseconds."""
    recorder = AuditRecorder(db, Metrics(), strict=strict, flush_s=0.5)
    recorder.start()
    waits: list[float] = []

    async def client(share: int) -> None:
        for number in range(share):
            began = time.perf_counter()
            await recorder.record(identification(number))
            waits.append((time.perf_counter() - began) * 1000)
            # A batched client would otherwise never let the writer run.
            await asyncio.sleep(0)

    started = time.perf_counter()
    await asyncio.gather(*(client(events // clients) for _ in range(clients)))
    await recorder.close()
    return len(waits) / (time.perf_counter() - started), sorted(waits)


async def run(events: int, clients: int) -> Sequence[str]:
    lines = []
    with tempfile.TemporaryDirectory() as place:
        keys = MasterKeys(KeyFile(Path(place) / "master.key"))
        db = await Database.open(f"sqlite+aiosqlite:///{Path(place) / 'halflight.db'}", keys)
        await db.migrate()
        async with db.write() as uow:
            for subject in ("s1", "s2"):
                await uow.subjects.ensure(subject, None)
            await uow.commit()
        lines.append(f"one commit for each event: {await one_commit_each(db, events // 20):.0f} events/s")
        for mode in ("strict", "batched"):
            rate, waits = await measure(db, strict=mode == "strict", events=events, clients=clients)
            p50, p99 = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
            lines.append(f"{mode}: {rate:.0f} events/s, waits p50 {p50:.2f} ms, p99 {p99:.2f} ms")
        started = time.perf_counter()
        found = await verify_log(db)
        seconds = time.perf_counter() - started
        lines.append(f"verified {found.entries} entries at {found.entries / seconds:.0f} a second")
        await db.close()
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=64)
    asked = parser.parse_args()
    for line in asyncio.run(run(asked.events, asked.clients)):
        print(line)


if __name__ == "__main__":
    main()
