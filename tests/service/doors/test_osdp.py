"""libosdp's control panel sees the card of whoever a rule lets in, and none that comes late."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("osdp", reason="libosdp is not installed: pip install libosdp")

from service.doors.building import build
from service.doors.outputs.base import Output, OutputFailed
from service.store.database import Database
from tests.service.doors.panel import ADDRESS, Wire, panel
from tests.service.doors.support import doors_text
from tests.service.doors.test_keeper import LIVE, keeping, match
from tests.service.store.support import enrolled, vector

ADA = {"card": 324}
# Facility 90, number 324: 00101101 00000000 10100010 00 and six zeros.
CARD = b"\x2d\x00\xa2\x00"
READY_S, MEETING_S = 150.0, 10.0


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def output_of(wire: Wire, key: bytes | None, folder: Path) -> str:
    secured = "insecure = true"
    if key is not None:
        (folder / "osdp.key").write_text(key.hex() + "\n")
        secured = 'key_file = "osdp.key"'
    return f'kind = "osdp"\ndevice = "{wire.device}"\naddress = {ADDRESS}\nfacility = 90\n{secured}'


@asynccontextmanager
async def reader(wire: Wire, key: bytes | None, folder: Path) -> AsyncIterator[Output]:
    path = folder / "doors.toml"
    await asyncio.to_thread(path.write_text, doors_text(output=output_of(wire, key, folder)))
    output = build(path)[1]["front"]
    await output.start()
    try:
        yield output
    finally:
        await output.stop()


@asynccontextmanager
async def met(output: Output, wire: Wire, key: bytes | None) -> AsyncIterator[Any]:
    """A panel that the reader has met. A busy machine lets a reader miss its turn, and a panel asks it again
    ever more rarely then, so that a new panel takes over."""
    end = time.monotonic() + READY_S
    while True:
        with panel(wire, key) as seen:
            try:
                async with asyncio.timeout(MEETING_S):
                    # A reader believes in the panel of before for a while. libosdp tells nobody.
                    while not seen.is_online(ADDRESS) or output.state() != "ready":  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            except TimeoutError:
                assert time.monotonic() < end
                continue
            yield seen
            return


async def card(seen: Any, timeout_s: int = 10) -> dict[str, Any] | None:
    found: dict[str, Any] | None = await asyncio.to_thread(seen.get_event, ADDRESS, timeout_s)
    return found


@pytest.mark.parametrize("secure", [False, True])
async def test_the_panel_reads_the_card(wire: Wire, tmp_path: Path, secure: bool) -> None:
    key = secrets.token_bytes(16) if secure else None
    async with reader(wire, key, tmp_path) as output, met(output, wire, key) as seen:
        await output.open(ADA, 5.0)
        found = await card(seen)
        assert found is not None
        assert (found["length"], bytes(found["data"])) == (26, CARD)
        assert not secure or seen.is_sc_active(ADDRESS)
        assert await card(seen, 1) is None, "once"


async def test_a_panel_with_another_key_reads_nothing(wire: Wire, tmp_path: Path) -> None:
    async with reader(wire, secrets.token_bytes(16), tmp_path) as output:
        with panel(wire, secrets.token_bytes(16)) as seen:
            await asyncio.sleep(3)
            assert output.state() == "offline"
            with pytest.raises(OutputFailed, match="panel_offline"):
                await output.open(ADA, 2.0)
            assert await card(seen, 1) is None


async def test_a_panel_without_a_key_reads_nothing_of_a_secured_reader(wire: Wire, tmp_path: Path) -> None:
    async with reader(wire, secrets.token_bytes(16), tmp_path) as output:
        with panel(wire, None) as seen:
            await asyncio.sleep(3)
            with pytest.raises(OutputFailed, match="panel_offline"):
                await output.open(ADA, 2.0)
            assert await card(seen, 1) is None


async def test_a_card_that_the_panel_has_not_fetched_in_time_is_taken_back(
    wire: Wire, tmp_path: Path
) -> None:
    """The panel stops; the reader does not know yet. When the panel is back, it reads no old card."""
    key = secrets.token_bytes(16)
    async with reader(wire, key, tmp_path) as output:
        async with met(output, wire, key):
            pass
        with pytest.raises(OutputFailed, match="output_too_slow"):
            await output.open(ADA, 0.5)
        async with met(output, wire, key) as seen:
            assert await card(seen, 3) is None
        async with met(output, wire, key) as seen:
            await output.open(ADA, 5.0)
            assert await card(seen) is not None


async def test_without_a_panel_nothing_is_presented(wire: Wire, tmp_path: Path) -> None:
    async with reader(wire, None, tmp_path) as output:
        with pytest.raises(OutputFailed, match="panel_offline"):
            await output.open(ADA, 30.0)
        with pytest.raises(OutputFailed, match="no_card"):
            await output.open({}, 30.0)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_decision_opens_over_osdp(db: Database, wire: Wire, tmp_path: Path) -> None:
    key = secrets.token_bytes(16)
    await enrolled(db, "ada", vector(1))
    async with db.write() as uow:
        await uow.subjects.change("ada", metadata=ADA)
        await uow.commit()
    file = doors_text(door=LIVE, output=output_of(wire, key, tmp_path))
    async with (
        keeping(db, tmp_path / "doors.toml", file) as watched,
        met(watched.keeper.doors["front"].output, wire, key) as seen,
    ):
        watched.keeper.offer(match())
        watched.keeper.offer(match("stranger", decision="unknown"))
        await watched.audited(3)
        found = await card(seen)
        assert found is not None
        assert bytes(found["data"]) == CARD
        assert await card(seen, 1) is None
    outcomes = sorted(watched.outcomes)
    assert outcomes == [("denied", "nobody_recognised"), ("opened", "allowed"), ("opening", "allowed")]
