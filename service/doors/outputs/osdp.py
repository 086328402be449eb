"""A reader on an OSDP line (IEC 60839-11-5), which presents cards to a control panel; through libosdp.

The panel polls; a card waits in libosdp until it does. So a card is presented only while the panel is
there, and is taken back if the panel has not fetched it before the deadline: it must not open later.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import Any

import structlog
from osdp import (
    Capability,
    CardFormat,
    Channel,
    CompletionStatus,
    Event,
    LibFlag,
    LogLevel,
    PDCapabilities,
    PDInfo,
    PeripheralDevice,
)

from service.doors.output_rules import OsdpOutput
from service.doors.outputs.base import OutputFailed, card_bits
from service.doors.outputs.serial_line import open_line

BEAT_S = 0.01
REOPEN_S = 2.0
LINE_ERRORS = (OSError, ValueError)

log = structlog.get_logger("halflight.doors")


class _Line(Channel):  # type: ignore[misc]
    """The serial line, as libosdp reads and writes it: it never blocks. `broken`: it is gone."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line, self.broken = line, False

    def read(self, max_bytes: int) -> bytes:
        try:
            return os.read(self.line, max_bytes)
        except BlockingIOError:
            return b""
        except LINE_ERRORS:
            self.broken = True
            return b""

    def write(self, buf: bytes) -> int:
        try:
            return os.write(self.line, buf)
        except BlockingIOError:
            return 0
        except LINE_ERRORS:
            self.broken = True
            return 0

    def flush(self) -> None:
        """Nothing is kept here."""


class Osdp:
    """One reader. `key`: of its secure channel, 16 bytes; None: without. A thread of its own serves the line,
    which is opened again if it breaks; nothing outlives the process."""

    def __init__(self, how: OsdpOutput, key: bytes | None) -> None:
        self._how, self._key = how, key
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._device: Any = None
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[bool]] | None = None
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._serve, name="osdp", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    def state(self) -> str:
        with self._lock:
            return "ready" if self._ready() else "offline"

    async def open(self, metadata: Mapping[str, Any], left_s: float) -> None:
        how = self._how
        bits = card_bits(metadata, field=how.card_field, bits=how.bits, facility=how.facility)
        loop = asyncio.get_running_loop()
        fetched: asyncio.Future[bool] = loop.create_future()
        with self._lock:
            if not self._ready():
                raise OutputFailed("panel_offline")
            if self._waiting is not None:
                raise OutputFailed("output_busy")
            self._waiting = (loop, fetched)
            self._device.ctx.submit_event(_card(bits))
        try:
            async with asyncio.timeout(left_s):
                done = await fetched
        except TimeoutError as error:
            raise OutputFailed("output_too_slow") from error
        finally:
            with self._lock:
                self._waiting = None
                if self._device is not None:
                    self._device.ctx.flush_events()
        if not done:
            raise OutputFailed("output_refused")

    def _ready(self) -> bool:
        """Whether the panel is there, over the secure channel if there is a key. Called under the lock."""
        if self._device is None or not self._device.ctx.is_online():
            return False
        return self._key is None or bool(self._device.ctx.is_sc_active())

    def _serve(self) -> None:
        """Runs in the thread: serves the line until `stop`."""
        said = False
        while not self._stop.is_set():
            try:
                line = open_line(self._how.device, self._how.baud)
            except Exception as error:  # noqa: BLE001 - OSError, termios.error, or what a driver raises
                if not said:
                    log.warning("the line of an OSDP reader cannot be opened", kind=type(error).__name__)
                    said = True
                self._stop.wait(REOPEN_S)
                continue
            said = False
            try:
                self._serve_line(_Line(line))
            finally:
                os.close(line)

    def _serve_line(self, channel: _Line) -> None:
        with self._lock:
            self._device = self._made(channel)
        try:
            while not self._stop.is_set() and not channel.broken:
                with self._lock:
                    self._device.ctx.refresh()
                self._stop.wait(BEAT_S)
        finally:
            with self._lock:
                # What waits in it goes with it.
                self._device = None

    def _made(self, channel: _Line) -> Any:
        flags = [] if self._key is None else [LibFlag.EnforceSecure]
        info = PDInfo(self._how.address, channel, scbk=self._key, flags=flags, name="halflight")
        able = PDCapabilities(
            [
                (Capability.CardDataFormat, 1, 1),
                (Capability.CheckCharacter, 1, 0),
                (Capability.CommunicationSecurity, 1, 1),
                (Capability.Readers, 0, 1),
                (Capability.LEDControl, 1, 1),
                (Capability.AudibleControl, 1, 1),
            ]
        )
        return PeripheralDevice(
            info, able, log_level=LogLevel.Emergency, event_completion_handler=self._completed
        )

    def _completed(self, _event: Mapping[str, Any], status: int) -> None:
        """Called in the thread under the lock: the panel has fetched the card, or it was taken back."""
        if self._waiting is not None:
            loop, fetched = self._waiting
            loop.call_soon_threadsafe(_tell, fetched, status == CompletionStatus.Ok)


def _tell(fetched: asyncio.Future[bool], done: bool) -> None:
    """Runs on the loop: whoever waits may have gone."""
    if not fetched.done():
        fetched.set_result(done)


def _card(bits: str) -> dict[str, Any]:
    """A card read of Wiegand bits, high bit first, filled up with zeros to whole bytes."""
    whole = bits.ljust(-len(bits) % 8 + len(bits), "0")
    return {
        "event": Event.CardRead,
        "reader_no": 0,
        "direction": 0,
        "format": CardFormat.Wiegand,
        "length": len(bits),
        "data": int(whole, 2).to_bytes(len(whole) // 8, "big"),
    }
