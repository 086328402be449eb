"""Writes to a serial line with a deadline: what is not sent by then is thrown away, not sent later."""

from __future__ import annotations

import os
import select
import struct
import termios
import time
from contextlib import suppress
from fcntl import ioctl

from service.doors.outputs.base import OutputFailed

SPEEDS = {
    9600: termios.B9600,
    19200: termios.B19200,
    38400: termios.B38400,
    57600: termios.B57600,
    115200: termios.B115200,
}
LOOK_EVERY_S = 0.005
# Indices in the list that termios takes and gives.
IFLAG, OFLAG, CFLAG, LFLAG, ISPEED, OSPEED = range(6)


def open_line(device: str, baud: int) -> int:
    """Opens a line raw, 8N1, without flow control; returns its descriptor, which does not block.

    Raises OSError, termios.error.
    """
    line = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        how = termios.tcgetattr(line)
        how[IFLAG] = how[OFLAG] = how[LFLAG] = 0
        how[CFLAG] = termios.CS8 | termios.CREAD | termios.CLOCAL
        how[ISPEED] = how[OSPEED] = SPEEDS[baud]
        termios.tcsetattr(line, termios.TCSANOW, how)
    except BaseException:
        os.close(line)
        raise
    return line


def write_line(device: str, baud: int, data: bytes, left_s: float) -> None:
    """Sends all of `data` within `left_s` seconds; blocks. Raises OutputFailed, and then drops the rest."""
    end_s = time.monotonic() + left_s
    try:
        line = open_line(device, baud)
    except (OSError, termios.error) as error:
        raise OutputFailed("output_unreachable") from error
    try:
        _send(line, data, end_s)
    except BaseException:
        # The kernel would send the rest whenever it can. Where all was sent nothing is thrown away: a
        # pseudo-terminal says so while the far end has not got it.
        with suppress(termios.error):
            termios.tcflush(line, termios.TCOFLUSH)
        raise
    finally:
        os.close(line)


def _send(line: int, data: bytes, end_s: float) -> None:
    """Returns once the kernel has sent all. Raises OutputFailed."""
    try:
        while data:
            if not select.select([], [line], [], max(0.0, end_s - time.monotonic()))[1]:
                raise OutputFailed("output_too_slow")
            data = data[os.write(line, data) :]
        while _waiting(line):
            if time.monotonic() >= end_s:
                raise OutputFailed("output_too_slow")
            time.sleep(LOOK_EVERY_S)
    except (OSError, termios.error) as error:
        raise OutputFailed("output_unreachable") from error


def _waiting(line: int) -> int:
    """Bytes that the kernel has not sent yet."""
    found: int = struct.unpack("i", ioctl(line, termios.TIOCOUTQ, b"\0" * 4))[0]
    return found
