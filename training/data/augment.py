"""Light augmentation of network inputs."""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from faces.strict import Strict
from faces.types import Pixels

# How many images are cropped, and how many turned, in the authors' code.
OFTEN = 0.5
DEFAULT_GAIN, DEFAULT_OFFSET = 0.2, 0.15

Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Strict):
    """How far images are changed.

    `crop_px`: half of the images lose up to so many pixels at each edge and are enlarged again.
    `rotation_deg`: half of them turn by up to so many degrees about their centre. `grey`: the probability of
    an image without colour; `mirror`: half of the images are flipped. `gain`, `offset`: the largest change of
    contrast, and of brightness in the network's units.
    """

    crop_px: Annotated[int, Field(ge=0, le=16)] = 0
    rotation_deg: Annotated[float, Field(ge=0, le=45)] = 0.0
    grey: Share = 0.0
    mirror: bool = True
    gain: Annotated[float, Field(ge=0, lt=1)] = DEFAULT_GAIN
    offset: Annotated[float, Field(ge=0, le=1)] = DEFAULT_OFFSET


NORMAL = Augmentation()


def moved(crops: Pixels, rng: np.random.Generator, config: Augmentation) -> Pixels:
    """Crops and turns images uint8 [n, s, s, 3], each by one resampling; around a turned one it is black."""
    if not config.crop_px and not config.rotation_deg:
        return crops
    out = crops.copy()
    for image in out:
        side = image.shape[0]
        # Every draw is made for every image, so that one does not depend on what another drew.
        cropped, turned = rng.random(2) < OFTEN
        left, right, top, bottom = rng.uniform(0, config.crop_px, 4)
        angle = rng.uniform(-config.rotation_deg, config.rotation_deg)
        matrix = np.eye(3)
        if cropped:
            matrix = _enlargement(side, float(left), float(right), float(top), float(bottom))
        if turned:
            centre = ((side - 1) / 2, (side - 1) / 2)
            turn = np.vstack([cv2.getRotationMatrix2D(centre, float(angle), 1.0), [0.0, 0.0, 1.0]])
            matrix = turn @ matrix
        if cropped or turned:
            # A crop has its whole border inside the image, up to half a pixel.
            border = cv2.BORDER_CONSTANT if turned else cv2.BORDER_REPLICATE
            image[...] = cv2.warpAffine(image, matrix[:2], (side, side), borderMode=border)
    return out


def _enlargement(side: int, left: float, right: float, top: float, bottom: float) -> NDArray[np.float64]:
    """The matrix [3, 3] that enlarges what is left inside the margins to the whole; pixel centres count."""
    x, y = side / (side - left - right), side / (side - top - bottom)
    return np.array(
        [
            [x, 0.0, x * (0.5 - left) - 0.5],
            [0.0, y, y * (0.5 - top) - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )


def augment(images: torch.Tensor, rng: np.random.Generator, config: Augmentation = NORMAL) -> torch.Tensor:
    """Flips images [n, 3, s, s], changes gain and offset, and makes some grey, with equal channels."""
    n = len(images)
    flip = torch.from_numpy(rng.random(n) < (0.5 if config.mirror else 0.0))
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    low, high = 1.0 - config.gain, 1.0 + config.gain
    gain = torch.from_numpy(rng.uniform(low, high, (n, 1, 1, 1)).astype(np.float32))
    offset = rng.uniform(-config.offset, config.offset, (n, 1, 1, 1)).astype(np.float32)
    images = images * gain + torch.from_numpy(offset)
    if config.grey:
        plain = in_grey(images)
        chosen = torch.from_numpy(rng.random(n) < config.grey)
        images = torch.where(chosen[:, None, None, None], plain, images)
    return images.clamp(-1.0, 1.0)


def in_grey(images: torch.Tensor) -> torch.Tensor:
    """The luminance (ITU-R BT.601) of blue-green-red images [n, 3, s, s] in three equal channels."""
    weights = torch.tensor([0.114, 0.587, 0.299])[None, :, None, None]
    return (images * weights).sum(1, keepdim=True).expand_as(images)
