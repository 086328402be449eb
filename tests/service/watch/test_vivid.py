"""A camera that streams: the kernel's virtual one.

It needs `modprobe vivid n_devs=1 node_types=0x1` and v4l2-ctl, and skips elsewhere: on machines without the
module, in a virtual machine whose kernel has it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.watch.camera import CameraReader
from service.watch.config import V4l2Source
from service.watch.frames import Frame, SourceError
from service.watch.grey import FORMATS

DEVICE = next(
    (
        f"/dev/{one.name}"
        for one in Path("/sys/class/video4linux").glob("video*")
        if "vivid" in (one / "name").read_text()
    ),
    "",
)
pytestmark = pytest.mark.skipif(not DEVICE, reason="the kernel's vivid is not loaded")
STILL = "test_pattern=20,osd_text_mode=2,horizontal_movement=3,vertical_movement=3"


def reader(**options: Any) -> CameraReader:
    given = {"name": "gate", "kind": "v4l2", "device": DEVICE, "spectrum": "nir", "size": "640x360"}
    return CameraReader(V4l2Source.model_validate(given | {"fps": 30.0} | options))


def told(*arguments: str) -> str:
    command = ["v4l2-ctl", "-d", DEVICE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True)
def ramp() -> Iterator[None]:
    """A still ramp from black to white, without counters."""
    told("-c", STILL)
    yield
    told("-c", "test_pattern=0,osd_text_mode=0")


@pytest.mark.parametrize("name", [one.name for one in FORMATS])
def test_every_format_shows_the_same_ramp(name: str) -> None:
    shown = "Y16 -BE" if name == "Y16BE" else name.ljust(4)
    if f"'{shown}'" not in told("--list-formats"):
        with pytest.raises(SourceError, match=f"it does not offer {name}, but .*GREY"):
            next(reader(pixel_format=name).frames())
        return
    grey = next(reader(pixel_format="GREY").frames()).pixels
    read = next(reader(pixel_format=name).frames()).pixels
    assert (read.shape, len(np.unique(grey)) > 200) == ((360, 640), True)
    assert np.abs(read.astype(int) - grey).max() <= 1


def test_frames_come_as_often_as_is_asked_for() -> None:
    found = list(islice(reader(pixel_format="Y10", rate=30, fps=5.0).frames(), 6))
    apart = np.diff([one.at_s for one in found])
    assert apart.min() > 0.15
    assert all(one.place is None for one in found)


def test_a_camera_with_colours_is_read_as_grey_only_for_nir() -> None:
    grey, colours = next(reader().frames()), next(reader(spectrum="vis").frames())
    assert (grey.pixels.ndim, colours.pixels.shape[2:]) == (2, (3,))


def test_the_check_says_what_the_camera_gives() -> None:
    assert reader(pixel_format="Y12", white=1023).check() == "640x360 Y12, white at 1023"
    assert "at 30 frames a second" in reader(pixel_format="GREY", rate=30).check()
    with pytest.raises(SourceError, match="it gives 640x360 when asked for 641x361"):
        reader(size="641x361").check()


def test_a_camera_that_another_reads_is_busy_and_is_read_afterwards() -> None:
    first = reader().frames()
    next(first)
    with pytest.raises(SourceError, match="another program uses it"):
        next(reader().frames())
    first.close()  # type: ignore[attr-defined]
    assert isinstance(next(reader().frames()), Frame)


def test_a_camera_that_goes_away_is_said_and_is_read_when_it_is_back() -> None:
    frames = reader().frames()
    next(frames)
    told("-c", "disconnect=1")
    with pytest.raises(SourceError, match="the camera is gone"):
        list(frames)
    # vivid is back once nobody holds it open.
    assert next(reader().frames()).pixels.shape == (360, 640)
