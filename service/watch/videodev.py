"""Structures and requests of the kernel's linux/videodev2.h, as a 64-bit machine lays them out."""

from __future__ import annotations

import ctypes


class Capability(ctypes.Structure):
    """v4l2_capability. `all`: of the driver; `own`: of this device."""

    _fields_ = (
        ("names", ctypes.c_uint8 * 80),
        ("version", ctypes.c_uint32),
        ("all", ctypes.c_uint32),
        ("own", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    )


class Description(ctypes.Structure):
    """v4l2_fmtdesc."""

    _fields_ = (
        ("index", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("description", ctypes.c_uint8 * 32),
        ("code", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 4),
    )


class Picture(ctypes.Structure):
    """v4l2_pix_format, as far as it is used here. `stride`: bytes from row to row."""

    _fields_ = tuple(
        (name, ctypes.c_uint32)
        for name in ("width", "height", "code", "field", "stride", "size", "colours", "private")
    )


class Shape(ctypes.Union):
    """The union of v4l2_format."""

    # The pointer stands for those of v4l2_window: it aligns the union.
    _fields_ = (("picture", Picture), ("raw", ctypes.c_uint8 * 200), ("window", ctypes.c_void_p))


class Format(ctypes.Structure):
    """v4l2_format."""

    _fields_ = (("type", ctypes.c_uint32), ("of", Shape))


class Rate(ctypes.Structure):
    """v4l2_streamparm with v4l2_captureparm: seconds a frame, as a fraction."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("capability", ctypes.c_uint32),
        ("mode", ctypes.c_uint32),
        ("numerator", ctypes.c_uint32),
        ("denominator", ctypes.c_uint32),
        ("rest", ctypes.c_uint8 * 184),
    )


class Request(ctypes.Structure):
    """v4l2_requestbuffers."""

    _fields_ = (
        ("count", ctypes.c_uint32),
        ("type", ctypes.c_uint32),
        ("memory", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 2),
    )


class Buffer(ctypes.Structure):
    """v4l2_buffer. `used`: bytes of the frame."""

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


QUERYCAP, ENUM_FMT = _number(2, 0, Capability), _number(3, 2, Description)
G_FMT, S_FMT, S_PARM = _number(3, 4, Format), _number(3, 5, Format), _number(3, 22, Rate)
REQBUFS, QUERYBUF = _number(3, 8, Request), _number(3, 9, Buffer)
QBUF, DQBUF = _number(3, 15, Buffer), _number(3, 17, Buffer)
STREAMON = _number(1, 18, ctypes.c_int)
