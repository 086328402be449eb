"""The part of the Video4Linux2 interface that captures frames of one plane from memory of the driver.

After the kernel's linux/videodev2.h. OpenCV and FFmpeg read neither Y12 nor Y14, and OpenCV takes the rows to
lie side by side, which not every driver does.
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


class _Capability(ctypes.Structure):
    _fields_ = (
        ("names", ctypes.c_uint8 * 80),
        ("version", ctypes.c_uint32),
        ("all", ctypes.c_uint32),
        ("own", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    )


class _Description(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("description", ctypes.c_uint8 * 32),
        ("code", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 4),
    )


class _Picture(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in ("width", "height", "code", "field", "stride", "size", "colours", "private")
    )


class _Union(ctypes.Union):
    # The pointer stands for those of v4l2_window: it aligns the union.
    _fields_ = (("picture", _Picture), ("raw", ctypes.c_uint8 * 200), ("window", ctypes.c_void_p))


class _Format(ctypes.Structure):
    _fields_ = (("type", ctypes.c_uint32), ("of", _Union))


class _Rate(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("capability", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("numerator", ctypes.c_uint32),
        ("denominator", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 184),
    )


class _Request(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 2),
    )


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("used", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("field", ctypes.c_uint32),
        ("at", ctypes.c_long * 2),
        ("timecode", ctypes.c_uint32 * 4),
        ("sequence", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("offset", ctypes.c_ulong),
        ("length", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 2),
    )


def _number(access: int, number: int, kind: type[ctypes.Structure] | type[ctypes.c_int]) -> int:
    """As x86, ARM and RISC-V number the requests; `access`: 1 writes, 2 reads."""
    return access << 30 | ctypes.sizeof(kind) << 16 | ord("V") << 8 | number


QUERYCAP, ENUM_FMT = _number(2, 0, _Capability), _number(3, 2, _Description)
G_FMT, S_FMT, S_PARM = _number(3, 4, _Format), _number(3, 5, _Format), _number(3, 22, _Rate)
REQBUFS, QUERYBUF = _number(3, 8, _Request), _number(3, 9, _Buffer)
QBUF, DQBUF = _number(3, 15, _Buffer), _number(3, 17, _Buffer)
STREAMON, STREAMOFF = _number(1, 18, ctypes.c_int), _number(1, 19, ctypes.c_int)


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
            found = _Capability()
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
            asked = _Description(index=len(codes), type=CAPTURE)
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
        asked = _Format(type=CAPTURE)
        self._ask(G_FMT, asked)
        picture = asked.of.picture
        if size is not None:
            picture.width, picture.height = size
        picture.code, picture.field, picture.stride, picture.size = code, NO_FIELDS, 0, 0
        self._ask(S_FMT, asked)
        return int(picture.code), int(picture.width), int(picture.height), int(picture.stride)

    def choose_rate(self, per_s: int) -> float:
        """Asks for so many frames a second. Returns what the camera has taken."""
        asked = _Rate(type=CAPTURE, numerator=1, denominator=per_s)
        try:
            self._ioctl(S_PARM, asked)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):
                raise CameraError("its frame rate cannot be set") from None
            raise _told(error) from None
        return float(asked.denominator) / (asked.numerator or 1)

    def start(self) -> None:
        """Begins to stream."""
        asked = _Request(count=BUFFERS, type=CAPTURE, memory=MMAP)
        self._ask(REQBUFS, asked)
        for index in range(int(asked.count)):
            buffer = _Buffer(index=index, type=CAPTURE, memory=MMAP)
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
            buffer = _Buffer(type=CAPTURE, memory=MMAP)
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
        self._ask(QBUF, _Buffer(index=place, type=CAPTURE, memory=MMAP))

    def _ask(self, number: int, about: ctypes.Structure | ctypes.c_int) -> None:
        try:
            self._ioctl(number, about)
        except OSError as error:
            raise _told(error) from None

    def _ioctl(self, number: int, about: ctypes.Structure | ctypes.c_int) -> None:
        fcntl.ioctl(self._open, number, about, True)


def _told(error: OSError) -> CameraError:
    return CameraError(SAID.get(error.errno or 0, errno.errorcode.get(error.errno or 0, "unknown fault")))
