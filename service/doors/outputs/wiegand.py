"""Hands the Wiegand number of a subject's card to a program, a serial line or an address."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from service.doors.output_rules import CommandCall, SerialCall, WiegandOutput
from service.doors.outputs.base import OutputFailed, card_bits
from service.doors.outputs.relay import call
from service.doors.outputs.serial_line import write_line


class Wiegand:
    """`secret`: the value of the header, where the number goes to an address."""

    def __init__(self, how: WiegandOutput, secret: str | None) -> None:
        self._how, self._secret = how, secret

    async def start(self) -> None:
        """Nothing stays connected."""

    async def stop(self) -> None:
        """Nothing is connected."""

    def state(self) -> str:
        return "ready"

    async def open(self, metadata: Mapping[str, Any], left_s: float) -> None:
        how, to = self._how, self._how.hand_to
        bits = card_bits(metadata, field=how.card_field, bits=how.bits, facility=how.facility)
        if isinstance(to, CommandCall):
            await _run(to, bits, left_s)
        elif isinstance(to, SerialCall):
            await asyncio.to_thread(write_line, to.device, to.baud, f"{bits}\n".encode(), left_s)
        else:
            await call(to, self._secret, left_s, {"bits": how.bits, "number": bits})


async def _run(to: CommandCall, bits: str, left_s: float) -> None:
    """Runs the program once. It gets the number on stdin, since everybody may read its arguments.

    It is killed at the deadline with whatever it started: it must not open later.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *to.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            # None of the service's secrets.
            env={"PATH": os.defpath},
            start_new_session=True,
        )
    except OSError as error:
        raise OutputFailed("output_unreachable") from error
    try:
        async with asyncio.timeout(left_s):
            await process.communicate(f"{bits}\n".encode())
    except TimeoutError as error:
        raise OutputFailed("output_too_slow") from error
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if process.returncode != 0:
        raise OutputFailed("output_refused")
