"""Whoever sends events leaves the database alone while there are none, and is awake at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from service.delivery import outgoing as module
from service.delivery.channel import Pace, Receiver
from service.delivery.outgoing import Outgoing
from service.store.database import Database
from service.store.outbox import DueEvent, NewEvent
from service.telemetry import Metrics
from tests.service.delivery.test_delivery import until
from tests.service.delivery.test_parts import NOW


class FileChannel:
    """Appends what it gets to a file; breaks once, in a way that nobody foresaw, if `breaks`."""

    def __init__(self, file: Path, *, breaks: bool = False) -> None:
        self.file, self.breaks = file, breaks

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        yield

    async def ready(self) -> None:
        """At once."""

    async def send(self, due: DueEvent) -> str | None:
        if self.breaks:
            self.breaks = False
            raise RuntimeError("broken")
        with self.file.open("a") as file:
            file.write(json.dumps(due.event_id) + "\n")
        return None


def receiver(name: str, channel: FileChannel) -> Receiver:
    return Receiver(name=name, kind="webhook", pace=Pace(timeout_s=0.1), channel=channel)


@pytest.fixture
def statements(db: Database) -> list[str]:
    """Every statement about deliveries from now on."""
    found: list[str] = []

    def note(_c: Any, _u: Any, statement: str, *_rest: Any) -> None:
        if "outbox" in statement:
            found.append(statement)

    event.listen(db._engine.sync_engine, "before_cursor_execute", note)
    return found


async def lines(file: Path, count: int) -> list[str]:
    """The lines of a file once there are so many."""

    def read() -> list[str]:
        until(lambda: file.exists() and len(file.read_text().splitlines()) >= count)
        return file.read_text().splitlines()

    return await asyncio.to_thread(read)


async def test_nothing_is_asked_while_nothing_happens(
    db: Database, tmp_path: Path, statements: list[str]
) -> None:
    file = tmp_path / "got"
    outgoing = Outgoing(db, Metrics(), lambda _one: b"{}", [receiver("one", FileChannel(file))])
    task = asyncio.create_task(outgoing.run())
    await asyncio.sleep(2)
    idle = len(statements)
    await asyncio.sleep(3)
    assert len(statements) == idle <= 4
    async with db.write() as uow:
        await uow.outbox.add(NewEvent(f"{1:024x}", NOW, None, b"{}"), ("one",))
        await uow.commit()
    outgoing.wake()
    assert await lines(file, 1) == [f'"{1:024x}"']
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_receiver_that_breaks_ends_no_other_and_goes_on(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.2)
    one, two = tmp_path / "one", tmp_path / "two"
    receivers = [receiver("one", FileChannel(one, breaks=True)), receiver("two", FileChannel(two))]
    outgoing = Outgoing(db, Metrics(), lambda _one: b"{}", receivers)
    async with db.write() as uow:
        for number in range(3):
            await uow.outbox.add(NewEvent(f"{number:024x}", NOW, None, b"{}"), ("one", "two"))
        await uow.commit()
    task = asyncio.create_task(outgoing.run())
    assert len(await lines(two, 3)) == 3
    assert set(await lines(one, 3)) == {f'"{number:024x}"' for number in range(3)}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
