"""Crops as the input tensors of this project's networks."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from faces.bundle import Normalisation
from faces.preprocess import to_network
from faces.types import Pixels

# Every network of this project takes (pixel - 127.5) / 127.5; its manifest says so.
NORMALISATION = Normalisation(order="bgr", mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))


def network_input(crops: Pixels, side_px: int) -> torch.Tensor:
    """Converts crops uint8 [n, s, s, 3] to float32 [n, 3, side, side], resized as `faces.preprocess` does."""
    rows = []
    for crop in crops:
        if crop.shape[0] != side_px:
            resized = cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
            crop = np.asarray(resized, np.uint8)
        rows.append(to_network(crop, NORMALISATION))
    return torch.from_numpy(np.stack(rows))
