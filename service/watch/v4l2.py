"""The part of the Video4Linux2 interface that captures frames of one plane from memory of the driver.

After the kernel's documentation (userspace-api/media/v4l). Done here since FFmpeg's table of formats
(libavdevice/v4l2-common.c) has neither Y10 nor Y12, OpenCV's (videoio/src/cap_v4l.cpp) has no Y12, and OpenCV
takes rows to lie side by side, which not every driver does.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
import stat
import time
from pathlib import Path
from types import TracebackType

import numpy as np

from service.watch.frames import Pixels
from service.watch.videodev import (
    DQBUF,
    ENUM_FMT,
    G_FMT,
    QBUF,
    QUERYBUF,
    QUERYCAP,
    REQBUFS,
    S_FMT,
    S_PARM,
    STREAMON,
    Buffer,
    Capability,
    Description,
    Format,
    Rate,
    Request,
)

CAPTURE, MMAP = 1, 1
CAN_CAPTURE, CAN_CAPTURE_PLANES, CAN_STREAM, HAS_DEVICE_CAPS = 1, 0x1000, 0x04000000, 0x80000000
NO_FIELDS, BROKEN = 1, 0x40
BUFFERS = 4
SAID = {
    errno.ENOENT: "there is no such device",
    errno.EACCES: "this user may not open it (who may is in the group of the device, mostly video)",
    errno.EPERM: "this user may not open it",
    errno.EBUSY: "another program uses it",
    errno.ENOTTY: "it is no camera",
    errno.ENODEV: "the camera is gone",
    errno.ENXIO: "the camera is gone",
    errno.EPIPE: "its pipeline is not set up for this format (media-ctl does it)",
    errno.ENOLINK: "its pipeline is not linked (media-ctl does it)",
}


class CameraError(RuntimeError):
    """The camera does not do what is asked of it. The text is for people."""


class Camera:
    """One device, open. Every method raises CameraError."""

    def __init__(self, device: str) -> None:
        self._memory: list[mmap.mmap] = []
        try:
            # Opening anything else may wait for it, or do what was not meant.
            if not stat.S_ISCHR(Path(device).stat().st_mode):
                raise CameraError(SAID[errno.ENOTTY])
            self._open = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _told(error) from None
        try:
            found = Capability()
            self._ask(QUERYCAP, found)
            able = found.own if found.all & HAS_DEVICE_CAPS else found.all
            if not able & CAN_CAPTURE:
                several = able & CAN_CAPTURE_PLANES
                raise CameraError("it gives several planes a frame" if several else "it takes no pictures")
            if not able & CAN_STREAM:
                raise CameraError("it does not stream")
        except CameraError:
            os.close(self._open)
            raise

    def __enter__(self) -> Camera:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        # Closing the last of them ends the stream; a map holds the device open.
        for one in self._memory:
            one.close()
        os.close(self._open)

    def codes(self) -> list[int]:
        """The formats that the camera offers, as the kernel names them."""
        codes: list[int] = []
        while True:
            asked = Description(index=len(codes), type=CAPTURE)
            try:
                self._ioctl(ENUM_FMT, asked)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return codes
                raise _told(error) from None
            codes.append(int(asked.code))

    def choose(self, code: int, size: tuple[int, int] | None) -> tuple[int, int, int, int]:
        """Asks for a format, and for a size unless the present one shall stay. Returns what the camera has
        taken: code, width, height, and bytes from row to row."""
        asked = Format(type=CAPTURE)
        self._ask(G_FMT, asked)
        picture = asked.of.picture
        if size is not None:
            picture.width, picture.height = size
        picture.code, picture.field, picture.stride, picture.size = code, NO_FIELDS, 0, 0
        self._ask(S_FMT, asked)
        return int(picture.code), int(picture.width), int(picture.height), int(picture.stride)

    def choose_rate(self, per_s: int) -> float:
        """Asks for so many frames a second. Returns what the camera has taken."""
        asked = Rate(type=CAPTURE, numerator=1, denominator=per_s)
        try:
            self._ioctl(S_PARM, asked)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):
                raise CameraError("its frame rate cannot be set") from None
            raise _told(error) from None
        return float(asked.denominator) / (asked.numerator or 1)

    def start(self) -> None:
        """Begins to stream."""
        asked = Request(count=BUFFERS, type=CAPTURE, memory=MMAP)
        self._ask(REQBUFS, asked)
        for index in range(int(asked.count)):
            buffer = Buffer(index=index, type=CAPTURE, memory=MMAP)
            self._ask(QUERYBUF, buffer)
            # The low half of the union is the offset, whatever the byte order of these machines.
            offset = int(buffer.offset) & 0xFFFFFFFF
            try:
                self._memory.append(
                    mmap.mmap(self._open, int(buffer.length), mmap.MAP_SHARED, mmap.PROT_READ, offset=offset)
                )
            except OSError as error:
                raise _told(error) from None
            self._ask(QBUF, buffer)
        self._ask(STREAMON, ctypes.c_int(CAPTURE))

    def take(self, timeout_s: float) -> tuple[int, int]:
        """Waits for a frame. Returns its place, to be given back, and how many bytes it has: none if it is
        broken."""
        until = time.monotonic() + timeout_s
        while True:
            ready, _, _ = select.select([self._open], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise CameraError(f"no frame for {timeout_s:g} s")
            buffer = Buffer(type=CAPTURE, memory=MMAP)
            try:
                self._ioctl(DQBUF, buffer)
            except BlockingIOError:
                continue
            except OSError as error:
                raise _told(error) from None
            return int(buffer.index), 0 if buffer.flags & BROKEN else int(buffer.used)

    def bytes_at(self, place: int) -> Pixels:
        """The memory of a frame, as bytes. No view of it may outlive the camera."""
        return np.frombuffer(self._memory[place], np.uint8)

    def give_back(self, place: int) -> None:
        """Lets the driver use the memory of a frame again."""
        self._ask(QBUF, Buffer(index=place, type=CAPTURE, memory=MMAP))

    def _ask(self, number: int, about: ctypes.Structure | ctypes.c_int) -> None:
        try:
            self._ioctl(number, about)
        except OSError as error:
            raise _told(error) from None

    def _ioctl(self, number: int, about: ctypes.Structure | ctypes.c_int) -> None:
        fcntl.ioctl(self._open, number, about, True)


def _told(error: OSError) -> CameraError:
    return CameraError(SAID.get(error.errno or 0, errno.errorcode.get(error.errno or 0, "unknown fault")))
