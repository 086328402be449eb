"""A control panel on an OSDP line: libosdp's other side, over a pair of pseudo-terminals."""

from __future__ import annotations

import os
import pty
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from osdp import ControlPanel, LogLevel, PDInfo

from service.doors.outputs.osdp import _Line

ADDRESS = 5


class Wire:
    """Two pseudo-terminals, joined by threads. `device`: of the reader; `panel_end`: of the panel, open."""

    def __init__(self) -> None:
        self._fds = [*pty.openpty(), *pty.openpty()]
        for one in self._fds:
            tty.setraw(one)
        reader_far, reader_near, panel_far, self.panel_end = self._fds
        self.device = os.ttyname(reader_near)
        os.set_blocking(self.panel_end, False)
        self._open = True
        both = ((reader_far, panel_far), (panel_far, reader_far))
        self._carriers = [threading.Thread(target=self._carry, args=ends, daemon=True) for ends in both]
        for carrier in self._carriers:
            carrier.start()

    def _carry(self, source: int, to: int) -> None:
        while self._open:
            try:
                os.write(to, os.read(source, 256))
            except OSError:
                return

    def close(self) -> None:
        self._open = False
        # Wakes each reader, which then ends.
        for near in (self._fds[1], self._fds[3]):
            os.write(near, b"\0")
        # First: the next wire gets the same descriptors, and would hear the old panel.
        for carrier in self._carriers:
            carrier.join()
        for one in self._fds:
            os.close(one)


@contextmanager
def panel(wire: Wire, key: bytes | None) -> Iterator[Any]:
    """A panel that polls the reader."""
    made = ControlPanel([PDInfo(ADDRESS, _Line(wire.panel_end), scbk=key)], log_level=LogLevel.Emergency)
    made.start()
    try:
        yield made
    finally:
        made.teardown()
