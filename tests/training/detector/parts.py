"""Small parts for tests: pictures whose landmarks are coloured dots, and a tiny network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from faces.types import Pixels
from training.detector.network import NetworkConfig
from training.detector.pictures import LabelledFace, Picture, Pictures, write_part
from training.detector.recipe import DetectorRecipe
from training.engine.loop import LoopConfig

# Of a face's five landmarks, blue-green-red: eyes, nose, mouth corners.
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))
BOX = (60.0, 50.0, 80.0, 100.0)
LANDMARKS = ((80.0, 85.0), (120.0, 85.0), (100.0, 105.0), (85.0, 130.0), (115.0, 130.0))
SIDE_PX = 200
TINY = NetworkConfig(stem=4, quarter=4, eighth=8, deep=8, pyramid=8)
RECIPE = DetectorRecipe(
    network=TINY,
    side_px=96,
    batch=4,
    loop=LoopConfig(iterations=6, lr=3e-3, optimiser="adamw", save_every=3, log_every=1),
)


def dotted(*, masked: bool | None = False, sure: bool = True) -> Picture:
    """A grey field with a pale oval, its landmarks as dots."""
    pixels: Pixels = np.full((SIDE_PX, SIDE_PX, 3), 60, np.uint8)
    x, y, w, h = BOX
    cv2.ellipse(
        pixels, (int(x + w / 2), int(y + h / 2)), (int(w / 2) - 2, int(h / 2) - 2), 0, 0, 360, (200,) * 3, -1
    )
    for point, colour in zip(LANDMARKS, COLOURS, strict=True):
        cv2.circle(pixels, (int(point[0]), int(point[1])), 7, colour, -1)
    face = LabelledFace(box=BOX, landmarks=LANDMARKS, masked=masked, sure=sure)
    kind = "drawn" if masked else "photo"
    return Picture(source=f"dots {kind}", kind=kind, pixels=pixels, faces=(face,))


def empty() -> Picture:
    field = np.full((120, 160), 90, np.uint8)
    return Picture(source="field", kind="empty", pixels=field, faces=())


def stored(root: Path, *pictures: Picture) -> Pictures:
    write_part(root, 0, pictures or (dotted(), dotted(masked=True), empty()))
    return Pictures(root)
