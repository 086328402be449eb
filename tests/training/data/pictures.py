"""Pictures for the tests of preparation: aligned crops of noise, and the committed rendered samples."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from faces.types import Pixels
from tests.conftest import SAMPLES
from tests.training.data.trees import touch


def encoded(pixels: Pixels, ending: str = ".png") -> bytes:
    done, data = cv2.imencode(ending, pixels)
    assert done
    return bytes(data)


def noise(seed: int, *, side: int = 112) -> Pixels:
    """Something with structure, different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (7, 7, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def aligned_tree(root: Path, *, subjects: int, each: int) -> None:
    """`root/<id>/<n>.png`, crops of 112 px as MS1M-v1c's."""
    for i in range(subjects):
        for n in range(each):
            touch(root / f"{i}" / f"{n}.png", encoded(noise(1000 * i + n)))


def pairs_tree(root: Path, *, subjects: int) -> None:
    """Rendered subjects as a generic data set: two VIS pictures and two (masked) NIR ones each."""
    for i in range(1, subjects + 1):
        name = f"s{i:02d}"
        for n in (1, 2):
            touch(root / name / "vis" / f"{n}.jpg", (SAMPLES / name / f"vis_{n}.jpg").read_bytes())
            touch(root / name / "nir" / f"{n}.jpg", (SAMPLES / name / f"nir_masked_{n}.jpg").read_bytes())
