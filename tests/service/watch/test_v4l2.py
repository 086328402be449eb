"""Cameras of this machine: levels as the kernel packs them, and devices that are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from service.watch.camera import CameraReader
from service.watch.config import V4l2Source
from service.watch.frames import SourceError
from service.watch.grey import BY_NAME, Reduction
from tests.service.cli.command import fails

NOBODY = 65534


def source(device: str = "/dev/video0", **options: object) -> V4l2Source:
    return V4l2Source.model_validate({"name": "gate", "kind": "v4l2", "device": device} | options)


# One row of four pixels by the tables of pixfmt-yuv-luma.rst, written out by hand.
LEVELS = {
    "GREY": ([0, 1, 128, 255], bytes([0, 1, 128, 255])),
    "Y10": ([0, 1, 0x2A5, 0x3FF], bytes([0, 0, 1, 0, 0xA5, 2, 0xFF, 3])),
    "Y10P": ([0, 1, 0x2A5, 0x3FF], bytes([0, 0, 0xA9, 0xFF, 0b11_01_01_00])),
    "Y12": ([0, 1, 0xA5C, 0xFFF], bytes([0, 0, 1, 0, 0x5C, 0xA, 0xFF, 0xF])),
    "Y12P": ([0, 1, 0xA5C, 0xFFF], bytes([0, 0, 0x10, 0xA5, 0xFF, 0xFC])),
    "Y14": ([0, 1, 0x2A5C, 0x3FFF], bytes([0, 0, 1, 0, 0x5C, 0x2A, 0xFF, 0x3F])),
    "Y16": ([0, 1, 0xA5C3, 0xFFFF], bytes([0, 0, 1, 0, 0xC3, 0xA5, 0xFF, 0xFF])),
    "Y16BE": ([0, 1, 0xA5C3, 0xFFFF], bytes([0, 0, 0, 1, 0xA5, 0xC3, 0xFF, 0xFF])),
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels_are_read_as_the_kernel_packs_them(name: str) -> None:
    levels, row = LEVELS[name]
    kind = BY_NAME[name]
    rows = np.frombuffer(row, np.uint8)[None]
    assert (kind.levels(rows).tolist(), kind.row_bytes(4)) == ([levels], len(row))
    assert kind.brightest == levels[-1]


@pytest.mark.parametrize("name", LEVELS)
def test_the_brightest_level_is_white_and_padding_of_rows_is_left_out(name: str) -> None:
    levels, row = LEVELS[name]
    padded = row + b"\xee" * 7
    data = np.frombuffer(padded + row, np.uint8)
    read = Reduction(BY_NAME[name], 3, 2).pixels(data, len(padded))
    wanted = [round(level * 255 / BY_NAME[name].brightest) for level in levels[:3]]
    assert (read.tolist(), read.dtype.name) == ([wanted, wanted], "uint8")
    assert Reduction(BY_NAME[name], 4, 2).pixels(data, len(padded))[0, 3] == 255


def test_a_white_level_is_one_line_for_all_frames_and_what_is_brighter_is_white() -> None:
    levels = np.array([[0, 100, 200, 255, 256, 4095]], "<u2")
    read = Reduction(BY_NAME["Y12"], 6, 1, white=255).pixels(levels.view(np.uint8)[0], 12)
    assert read.tolist() == [[0, 100, 200, 255, 255, 255]]
    dark = Reduction(BY_NAME["Y12"], 6, 1).pixels(levels.view(np.uint8)[0], 12)
    assert dark.tolist() == [[0, 6, 12, 16, 16, 255]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"white": 700}, "needs a `pixel_format`"),
        ({"pixel_format": "Y10", "white": 1024}, "Y10 has no level 1024"),
        ({"pixel_format": "GREY", "white": 256}, "GREY has no level 256"),
        ({"pixel_format": "Y10", "input_format": "mjpeg"}, "is for FFmpeg"),
        ({"pixel_format": "Y11"}, "pixel_format"),
        ({"rate": 0}, "rate"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        source(**options)
    assert source(pixel_format="Y12P", white=4095, size="640x480").pixels_asked == (640, 480)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("/dev/no-such-camera", "there is no such device"),
        ("/dev/null", "it is no camera"),
        ("/dev/../etc/hosts", "it is no camera"),
        ("/dev/", "it is no camera"),
    ],
)
def test_what_is_no_camera_is_said_in_one_sentence(device: str, said: str) -> None:
    for read in (lambda: next(CameraReader(source(device)).frames()), CameraReader(source(device)).check):
        with pytest.raises(SourceError, match=f"^the v4l2 source cannot be read: {said}$"):
            read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a device that others may not open")
def test_a_device_of_somebody_else_is_said(tmp_path: Path) -> None:
    code = (
        "import os, sys; from service.watch.v4l2 import Camera, CameraError\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try: Camera(sys.argv[1])\n"
        "except CameraError as error: print(error)\n"
    )
    node = Path("/dev") / f"halflight-test-{os.getpid()}"
    os.mknod(node, 0o020600, os.makedev(1, 3))
    try:
        said = subprocess.run([sys.executable, "-c", code, node], capture_output=True, text=True, check=True)
    finally:
        node.unlink()
    assert said.stdout.startswith("this user may not open it")


def test_the_check_opens_cameras(tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_text('spool = "s"\n[[source]]\nname = "gate"\nkind = "v4l2"\ndevice = "/dev/null"\n')
    fails(1, "watch", "--check", path, expected=["gate: the v4l2 source cannot be read: it is no camera"])
