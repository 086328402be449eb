"""Renders a near-infrared clip: rendered people with masks cross the picture, one after another.

The people are the project's own rendered samples; nobody in the clip exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tests.conftest import SAMPLES

Grey = NDArray[np.uint8]
WIDTH, HEIGHT, FPS = 960, 540, 15
# Before the first one, and between two people, nobody is in the picture.
LEAD_S, PAUSE_S = 3.0, 1.0


@dataclass(frozen=True)
class Walker:
    """Somebody who crosses the picture. `pictures`: near-infrared views with a mask."""

    name: str
    pictures: tuple[Path, ...]
    rightwards: bool = True


def sample(name: str, *, rightwards: bool = True) -> Walker:
    folder = SAMPLES / name
    return Walker(name, (folder / "nir_masked_1.jpg", folder / "nir_masked_2.jpg"), rightwards)


def frames(
    walkers: Sequence[Walker], *, seconds: float, pause_s: float, seed: int = 5, poster: bool = False
) -> Iterator[Grey]:
    """The frames of a clip, uint8 [540, 960], with the noise of a camera in the dark.

    `poster`: the wall has a pattern in which the detector finds a face, where people pass.
    """
    rng = np.random.default_rng(seed)
    pattern = rng.integers(30, 60, (9, 16)).astype(np.uint8)
    if not poster:
        # A lamp from above: even random stains of little contrast have faces for a detector.
        pattern = np.repeat(np.linspace(52, 38, 9).astype(np.uint8)[:, None], 16, axis=1)
    wall = np.asarray(cv2.resize(pattern, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    # A larger field of noise, of which each frame shows another part.
    noise = rng.normal(0, 1.5, (HEIGHT + 64, WIDTH + 64)).astype(np.int16)
    for _ in range(int(LEAD_S * FPS)):
        yield _noisy(wall, noise, rng)
    for walker in walkers:
        pictures = [_picture(path) for path in walker.pictures]
        steps = int(seconds * FPS)
        for step in range(steps):
            share = step / max(1, steps - 1)
            picture = pictures[min(len(pictures) - 1, int(share * len(pictures)))]
            yield _noisy(_with(wall, picture, share if walker.rightwards else 1 - share, share), noise, rng)
        for _ in range(int(pause_s * FPS)):
            yield _noisy(wall, noise, rng)


def _picture(path: Path) -> Grey:
    read = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert read is not None
    return np.asarray(read, np.uint8)


def _with(wall: Grey, picture: Grey, across: float, nearer: float) -> Grey:
    """Somebody before the wall, who comes nearer while they cross it."""
    side = int(300 + 60 * nearer)
    scaled = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    left, top = int(across * (WIDTH - side)), int((HEIGHT - side) * 0.6)
    ramp = np.clip(np.minimum(np.arange(side), np.arange(side)[::-1]) / 24, 0, 1)
    alpha = np.outer(ramp, ramp)
    made = wall.copy()
    part = made[top : top + side, left : left + side]
    part[:] = (alpha * scaled + (1 - alpha) * part).astype(np.uint8)
    return made


def _noisy(picture: Grey, noise: NDArray[np.int16], rng: np.random.Generator) -> Grey:
    top, left = rng.integers(0, 64, 2)
    moved = noise[top : top + HEIGHT, left : left + WIDTH]
    return np.asarray(np.clip(picture + moved, 0, 255), np.uint8)


def write_clip(
    path: Path, walkers: Sequence[Walker], *, seconds: float, pause_s: float = PAUSE_S, poster: bool = False
) -> Path:
    """Writes the clip as H.264 in MP4, with a key frame every second, as cameras do."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "20", "g": str(FPS), "bf": "0"}
        for grey in frames(walkers, seconds=seconds, pause_s=pause_s, poster=poster):
            made = av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p")
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
    return path
