"""Converts pixels to network input as the manifest says; no other module normalises."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.bundle import EncoderSpec, LivenessSpec, MaskSpec, Normalisation
from faces.types import AlignedCrop, Box, Image

Floats = NDArray[np.float32]
SMALLEST_NORM = 1e-6


def to_network(pixels: NDArray[np.uint8], normalisation: Normalisation) -> Floats:
    """Converts uint8 [h, w, 3] blue-green-red to float32 [3, h, w] = (pixel - mean) / std, C-contiguous."""
    planes = pixels.transpose(2, 0, 1)
    if normalisation.order == "rgb":
        planes = planes[::-1]
    values = np.ascontiguousarray(planes, dtype=np.float32)
    if any(normalisation.mean):
        values -= np.array(normalisation.mean, np.float32)[:, None, None]
    if any(part != 1.0 for part in normalisation.std):
        values *= (1.0 / np.array(normalisation.std, np.float32))[:, None, None]
    return values


def encoder_input(crop: AlignedCrop, spec: EncoderSpec) -> Floats:
    """Converts an aligned crop to the encoder's input, float32 [3, height, width].

    Raises ValueError if the crop has another alignment than the encoder.
    """
    if crop.alignment_id != spec.alignment:
        raise ValueError(f"the encoder wants {spec.alignment}, the crop is {crop.alignment_id}")
    pixels = crop.pixels
    if spec.columns is not None:
        pixels = pixels[:, spec.columns[0] : spec.columns[1]]
    height, width = spec.input_px
    if pixels.shape[:2] != (height, width):
        resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
        pixels = np.asarray(resized, np.uint8)
    return to_network(pixels, spec.normalisation)


def mask_input(image: Image, box: Box, spec: MaskSpec) -> Floats:
    """Converts the padded square around a face box to float32 [3, n, n]; replicates the border."""
    return _padded_square(image, box, spec)


def liveness_input(image: Image, box: Box, crop: AlignedCrop, spec: LivenessSpec) -> Floats:
    """Converts the aligned crop, or the padded square around the face box, to float32 [3, n, n]."""
    if spec.region == "box":
        return _padded_square(image, box, spec)
    size = (spec.input_px, spec.input_px)
    pixels = cv2.resize(crop.pixels, size, interpolation=cv2.INTER_LINEAR)
    return to_network(np.asarray(pixels, np.uint8), spec.normalisation)


def _padded_square(image: Image, box: Box, spec: MaskSpec | LivenessSpec) -> Floats:
    side = max(box.width, box.height) * (1.0 + spec.padding)
    left = box.x + box.width / 2 - side / 2
    top = box.y + box.height / 2 - side / 2
    scale = spec.input_px / side
    held = scale * image.reduction
    matrix = np.array([[held, 0, -left * scale], [0, held, -top * scale]])
    pixels = cv2.warpAffine(
        image.pixels,
        matrix,
        (spec.input_px, spec.input_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return to_network(np.asarray(pixels, np.uint8), spec.normalisation)


def mask_probability(output: Floats, spec: MaskSpec) -> float:
    """Returns the probability of a mask from class scores [anchors, 2]: the best masked anchor against
    the other."""
    best = output.max(axis=0).astype(np.float64)
    masked, other = float(best[spec.masked_class]), float(best[1 - spec.masked_class])
    total = masked + other
    return min(1.0, max(0.0, masked / total)) if total > 0 else 0.0


def unit_rows(rows: Floats) -> Floats:
    """Scales rows [n, d] to unit norm. Raises ValueError for a zero or non-finite row."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms < SMALLEST_NORM).any():
        raise ValueError("an embedding is zero or not finite")
    unit: Floats = (rows / norms).astype(np.float32)
    return unit
