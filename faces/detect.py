"""Letterboxes images for a detector and decodes its outputs, on arrays, without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.bundle import DetectorSpec, Normalisation
from faces.preprocess import to_network
from faces.tone import brightened
from faces.types import Box, Face, Image, Turn

STRIDES = (8, 16, 32)
Floats = NDArray[np.float32]
# Values of a cell for the decoder `centres`: score, mask, centre, size, five landmarks.
CELL_VALUES = 16
# The zooms that are tried until a face is found. The larger one finds small faces; the smaller one finds
# faces that fill the picture, which are too large for every anchor.
LOOKS = (1.0, 2.0, 0.5)


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of an image in its square canvas: at the top left, scaled by `scale` (canvas / image)."""

    scale: float
    canvas_px: int


def letterbox(
    image: Image, *, canvas_px: Sequence[int], zoom: float = 1.0
) -> tuple[NDArray[np.uint8], Placement]:
    """Places an image in the smallest canvas that holds it, or scales it into the largest.

    `canvas_px` ascends. A dark picture is brightened (`faces.tone`). Padded with black at the right and
    the bottom. `zoom` 1 never enlarges; above 1 it enlarges a small picture, as far as the largest canvas
    allows; below 1 it shrinks the picture.
    Returns uint8 [side, side, 3] and the placement.
    """
    longest = max(image.width, image.height)
    wanted = longest * max(1.0, zoom)
    side = next((s for s in canvas_px if s >= wanted), canvas_px[-1])
    scale = min(zoom, 1.0) * min(max(1.0, zoom), side / longest)
    width, height = _shown_px(image.width, image.height, scale, side)
    canvas = np.zeros((side, side, 3), np.uint8)
    picture = image.pixels
    held = picture.shape[:2]
    if (height, width) != held:
        # Area averaging: a plain bilinear reduction of a large photo aliases small faces away.
        how = cv2.INTER_AREA if height < held[0] or width < held[1] else cv2.INTER_LINEAR
        picture = np.asarray(cv2.resize(image.pixels, (width, height), interpolation=how), np.uint8)
    canvas[:height, :width] = brightened(picture)
    return canvas, Placement(scale=scale, canvas_px=side)


def _shown_px(width: int, height: int, scale: float, side: int) -> tuple[int, int]:
    """The width and height of the picture within its canvas."""
    return max(1, min(side, round(width * scale))), max(1, min(side, round(height * scale)))


def turned_canvas(
    canvas: NDArray[np.uint8], placement: Placement, turn: Turn, *, image_size: tuple[int, int]
) -> NDArray[np.uint8]:
    """The canvas uint8 [side, side, 3] of the picture turned clockwise; its `placement` has the same scale.

    `image_size`: width and height of the picture as it was given.
    """
    width, height = _shown_px(*image_size, placement.scale, placement.canvas_px)
    picture = np.rot90(canvas[:height, :width], -turn // 90)
    made = np.zeros_like(canvas)
    made[: picture.shape[0], : picture.shape[1]] = picture
    return made


def canvas_input(canvas: NDArray[np.uint8], normalisation: Normalisation) -> Floats:
    """Converts a canvas uint8 [s, s, 3] to network input float32 [3, s, s]."""
    return to_network(canvas, normalisation)


def _anchors(canvas_px: int, stride: int) -> Floats:
    """Returns the top left of each cell in canvas pixels, row by row: [cells, 2] as (x, y)."""
    steps = np.arange(canvas_px // stride, dtype=np.float32) * stride
    x, y = np.meshgrid(steps, steps)
    return np.stack([x.ravel(), y.ravel()], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Detections in canvas pixels: `boxes` [n, 4] as left, top, width, height,
    `points` [n, 5, 2]; `masked` [n] if the detector classifies masks."""

    scores: Floats
    boxes: Floats
    points: Floats
    masked: Floats | None = None


def decode(
    outputs: Mapping[str, Floats],
    placement: Placement,
    *,
    spec: DetectorSpec,
    image_size: tuple[int, int],
) -> tuple[Face, ...]:
    """Decodes the outputs for a canvas to faces in pixels of the image, by the decoder that the bundle
    names."""
    how = decode_centres if spec.decoder == "centres" else decode_yunet
    faces = how(
        outputs,
        placement,
        image_size=image_size,
        score_threshold=spec.score_threshold,
        nms_iou=spec.nms_iou,
    )
    if (calibration := spec.calibration) is None:
        return faces
    return tuple(replace(face, probability=calibration.probability(face.score)) for face in faces)


def decode_yunet(
    outputs: Mapping[str, Floats],
    placement: Placement,
    *,
    image_size: tuple[int, int],
    score_threshold: float,
    nms_iou: float,
) -> tuple[Face, ...]:
    """Decodes the outputs of YuNet for a canvas to faces in pixels of the image, largest first.

    For each stride s: `cls_s` and `obj_s` [cells, 1], `bbox_s` [cells, 4] as centre offset and
    log size in strides, `kps_s` [cells, 10]. Score = sqrt(cls * obj). `image_size` is (width,
    height): a face whose centre lies outside it is an artefact of the padding.
    """
    found = []
    for stride in STRIDES:
        cls = np.clip(outputs[f"cls_{stride}"][:, 0], 0, 1)
        obj = np.clip(outputs[f"obj_{stride}"][:, 0], 0, 1)
        score = np.sqrt(cls * obj)
        (keep,) = np.nonzero(score >= score_threshold)
        if not len(keep):
            continue
        anchor = _anchors(placement.canvas_px, stride)[keep]
        raw = outputs[f"bbox_{stride}"][keep]
        centre = anchor + raw[:, :2] * stride
        size = np.exp(np.minimum(raw[:, 2:], 20.0)) * stride
        offsets = outputs[f"kps_{stride}"][keep].reshape(-1, 5, 2)
        points = anchor[:, None, :] + offsets * stride
        found.append(_Found(score[keep], np.concatenate([centre - size / 2, size], axis=1), points))
    return _faces(found, placement, image_size, score_threshold, nms_iou)


def decode_centres(
    outputs: Mapping[str, Floats],
    placement: Placement,
    *,
    image_size: tuple[int, int],
    score_threshold: float,
    nms_iou: float,
) -> tuple[Face, ...]:
    """Decodes the outputs of this project's detector for a canvas to faces with mask state, largest first.

    For each stride s: `faces_s` [16, rows, columns]: score and probability of a mask in [0, 1], then in
    strides the box's centre relative to the middle of the cell (x, y), its width and height, and five
    landmarks relative to the middle. `image_size` as in `decode_yunet`.
    """
    found = []
    for stride in STRIDES:
        cells = outputs[f"faces_{stride}"].reshape(CELL_VALUES, -1).T
        (keep,) = np.nonzero(cells[:, 0] >= score_threshold)
        if not len(keep):
            continue
        raw = np.clip(cells[keep], -1e6, 1e6)
        middle = _anchors(placement.canvas_px, stride)[keep] + stride / 2
        centre, size = middle + raw[:, 2:4] * stride, raw[:, 4:6] * stride
        points = middle[:, None, :] + raw[:, 6:].reshape(-1, 5, 2) * stride
        boxes = np.concatenate([centre - size / 2, size], axis=1)
        scores, masked = np.clip(raw[:, 0], 0, 1), np.clip(raw[:, 1], 0, 1)
        found.append(_Found(scores, boxes, points, masked))
    return _faces(found, placement, image_size, score_threshold, nms_iou)


def _faces(
    found: Sequence[_Found],
    placement: Placement,
    image_size: tuple[int, int],
    score_threshold: float,
    nms_iou: float,
) -> tuple[Face, ...]:
    """Keeps one of each group of overlapping faces; returns them in pixels of the image, largest first."""
    if not found:
        return ()
    all_boxes = np.concatenate([one.boxes for one in found]).astype(np.float64) / placement.scale
    all_points = np.concatenate([one.points for one in found]).astype(np.float64) / placement.scale
    all_scores = np.concatenate([one.scores for one in found]).astype(np.float64)
    known = [one.masked for one in found if one.masked is not None]
    masks = np.concatenate(known).tolist() if known else [None] * len(all_scores)
    kept = cv2.dnn.NMSBoxes(all_boxes.tolist(), all_scores.tolist(), score_threshold, nms_iou)
    faces = []
    for i in np.asarray(kept, np.int64).ravel():
        x, y, width, height = (float(v) for v in all_boxes[i])
        inside = 0 <= x + width / 2 <= image_size[0] and 0 <= y + height / 2 <= image_size[1]
        if not inside or not (width > 0 and height > 0 and np.isfinite(all_points[i]).all()):
            continue
        a, b, nose, left, right = ((float(px), float(py)) for px, py in all_points[i])
        box, score = Box(x, y, width, height), float(all_scores[i])
        faces.append(Face(box, (a, b, nose, left, right), score, masks[i]))
    return tuple(sorted(faces, key=lambda face: face.box.area, reverse=True))
