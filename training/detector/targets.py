"""Assigns faces to cells: centre sampling with a stride for each size (arXiv 1904.01355, 3.2).

The targets of a face are the cells near its middle, at the strides that suit its size. The loss of the
score ignores the cells of neighbouring strides and of doubtful faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faces.detect import STRIDES
from training.detector.scenes import FaceArrays, Scene

# The range of each stride: root of the box area in pixels. The ranges overlap.
SIZES = {8: (0.0, 44.0), 16: (32.0, 100.0), 32: (76.0, np.inf)}
# Cells whose range misses a face by less than this factor are ignored.
BLUR = 1.35
REACH, SHARE_OF_BOX = 1.25, 0.4
BACKGROUND, IGNORED = -1, -2


def cell_centres(side_px: int) -> NDArray[np.float32]:
    """Returns x, y of each cell's middle and its stride, stride by stride and row by row: [cells, 3]."""
    parts = []
    for stride in STRIDES:
        steps = (np.arange(side_px // stride, dtype=np.float32) + 0.5) * stride
        x, y = np.meshgrid(steps, steps)
        parts.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride, np.float32)], axis=1))
    return np.concatenate(parts)


def assign(faces: FaceArrays, cells: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the index of each cell's face, BACKGROUND or IGNORED: [cells]."""
    owner = np.full(len(cells), BACKGROUND, np.int64)
    if not len(faces):
        return owner
    sizes = faces.boxes[:, 2:] - faces.boxes[:, :2]
    middles = (faces.boxes[:, 2:] + faces.boxes[:, :2]) / 2
    roots = np.sqrt(sizes.prod(axis=1))
    stride = cells[:, 2]
    lows = np.select([stride == s for s in STRIDES], [SIZES[s][0] for s in STRIDES])
    highs = np.select([stride == s for s in STRIDES], [SIZES[s][1] for s in STRIDES])
    away = np.abs(cells[:, None, :2] - middles[None])
    half = 0.5 * stride[:, None, None]
    near = np.minimum(REACH * stride[:, None, None], np.maximum(half, SHARE_OF_BOX * sizes[None]))
    close = (away <= near).all(axis=2)
    # Smaller faces last: of two overlapping faces the smaller one is in front.
    for i in np.argsort(-roots):
        if faces.sure[i]:
            suits = (lows < roots[i]) & (roots[i] <= highs)
            almost = (lows / BLUR < roots[i]) & (roots[i] <= highs * BLUR)
            owner[close[:, i] & almost & ~suits & (owner < 0)] = IGNORED
            owner[close[:, i] & suits] = i
    for i in np.flatnonzero(~faces.sure):
        inside = (away[:, i] <= np.maximum(sizes[i] / 2, half[:, 0])).all(axis=1)
        owner[inside & (owner == BACKGROUND)] = IGNORED
    return owner


@dataclass(frozen=True, eq=False)
class DetectorBatch:
    """B scenes and the targets of their cells.

    `images`: uint8 [B, side, side, 3]; `kinds`: [B, cells] 1 face, 0 background, -1 ignored; `boxes`
    [B, cells, 4] (left, top, right, bottom) and `landmarks` [B, cells, 10] in pixels, zero except for
    faces; `masked` [B, cells]: 1, 0, -1 unknown.
    """

    iteration: int
    images: Tensor
    kinds: Tensor
    boxes: Tensor
    landmarks: Tensor
    masked: Tensor

    def to(self, device: torch.device) -> Self:
        parts = (self.images, self.kinds, self.boxes, self.landmarks, self.masked)
        return type(self)(self.iteration, *(part.to(device, non_blocking=True) for part in parts))


def batch_of(iteration: int, scenes: list[Scene], cells: NDArray[np.float32]) -> DetectorBatch:
    """Makes a batch of scenes of one size."""
    count = len(cells)
    kinds = np.zeros((len(scenes), count), np.int8)
    boxes = np.zeros((len(scenes), count, 4), np.float32)
    landmarks = np.zeros((len(scenes), count, 10), np.float32)
    masked = np.full((len(scenes), count), -1, np.int8)
    for i, scene in enumerate(scenes):
        owner = assign(scene.faces, cells)
        learns = owner >= 0
        kinds[i] = np.where(learns, 1, np.where(owner == IGNORED, -1, 0))
        chosen = owner[learns]
        boxes[i, learns] = scene.faces.boxes[chosen]
        landmarks[i, learns] = scene.faces.landmarks[chosen].reshape(-1, 10)
        masked[i, learns] = scene.faces.masked[chosen]
    images = torch.from_numpy(np.stack([scene.pixels for scene in scenes]))
    return DetectorBatch(
        iteration,
        images,
        *(torch.from_numpy(part) for part in (kinds, boxes, landmarks, masked)),
    )
