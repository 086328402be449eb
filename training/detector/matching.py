"""Matches detections with labelled faces; computes recall at a rate of false positives per picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.rates.intervals import Interval
from faces.rates.resampling import percentiles, weights
from faces.types import Face
from training.detector.scenes import FaceArrays

Floats = NDArray[np.float64]
# A detection matches a face at this IoU; one that covers a doubtful face by this share is ignored.
SAME_IOU, NEUTRAL_SHARE = 0.5, 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """Detections of one picture. `scores` [sure faces]: score of the matched detection, NaN for none;
    `found`: its index, or -1; `false`: indices of the false positives; `false_scores`: their scores."""

    scores: Floats
    found: NDArray[np.int64]
    false: NDArray[np.int64]
    false_scores: Floats


def corners(faces: Sequence[Face]) -> Floats:
    """Returns left, top, right, bottom: [n, 4]."""
    boxes = np.array([(f.box.x, f.box.y, f.box.width, f.box.height) for f in faces], np.float64).reshape(
        -1, 4
    )
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def shared_area(a: Floats, b: Floats) -> Floats:
    """Returns the area that every box of `a` shares with every box of `b`: [a, b]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    area: Floats = np.clip(high - low, 0, None).prod(axis=2)
    return area


def area(boxes: Floats) -> Floats:
    size: Floats = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return size


def match(detections: Sequence[Face], known: FaceArrays) -> Matched:
    """Matches greedily, highest score first: a detection takes the free sure face of the largest IoU."""
    sure = np.flatnonzero(known.sure)
    scores, found = np.full(len(sure), np.nan), np.full(len(sure), -1, np.int64)
    boxes, truth, doubt = corners(detections), known.boxes[sure], known.boxes[~known.sure]
    with_truth = shared_area(boxes, truth)
    iou = with_truth / np.maximum(area(boxes)[:, None] + area(truth)[None] - with_truth, 1e-9)
    covered = shared_area(boxes, doubt) / np.maximum(area(boxes)[:, None], 1e-9)
    false = []
    for i in np.argsort([-face.score for face in detections], kind="stable"):
        free = np.where(found < 0, iou[i], -1.0)
        best = int(np.argmax(free)) if len(free) else -1
        if best >= 0 and free[best] >= SAME_IOU:
            scores[best], found[best] = detections[i].score, i
        elif not (covered[i] >= NEUTRAL_SHARE).any():
            false.append(i)
    wrong = np.array([detections[i].score for i in false], np.float64)
    return Matched(scores, found, np.array(false, np.int64), wrong)


@dataclass(frozen=True, slots=True)
class Recall:
    """The share of sure faces found at a threshold, and the false positives per picture there."""

    recall: Interval
    threshold: float
    false_per_picture: float
    faces: int


def recall_at(matched: Sequence[Matched], threshold: float) -> Recall:
    """Returns the recall at a threshold; the bootstrap draws pictures.

    Raises ValueError if there is no face.
    """
    successes = np.array([int((one.scores >= threshold).sum()) for one in matched])
    faces = np.array([len(one.scores) for one in matched])
    if not faces.sum():
        raise ValueError("there is no labelled face to be found")
    drawn = weights(len(matched))
    with np.errstate(invalid="ignore"):
        replicates = (drawn @ successes) / (drawn @ faces)
    wrong = sum(int((one.false_scores >= threshold).sum()) for one in matched)
    interval = percentiles(float(successes.sum() / faces.sum()), replicates)
    return Recall(interval, threshold, wrong / len(matched), int(faces.sum()))


def recall_at_false_positives(matched: Sequence[Matched], false_per_picture: float = 1.0) -> Recall:
    """Returns the recall at the lowest threshold with at most this many false positives per picture."""
    wrong = np.sort(np.concatenate([one.false_scores for one in matched]))[::-1]
    allowed = int(false_per_picture * len(matched))
    threshold = float(np.nextafter(wrong[allowed], np.inf)) if len(wrong) > allowed else 0.0
    return recall_at(matched, threshold)
