"""Calibrates a detector's score: how likely does a detection show the face that a photo is about?

A face half hidden at the border scores low and is a face; the face that a photo is about scores low
hardly ever. So a false detection is whatever competes with that face and is another: no face, or
somebody else's. Only detections compete that are at least half as large.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from faces.bundle import ScoreCalibration
from training.data.records import DataSetError
from training.detector.candidates import Candidate
from training.detector.evaluate import load_image
from training.detector.matching import area, match
from training.detector.pictures import Pictures
from training.detector.scenes import face_arrays

Floats = NDArray[np.float64]
# Detections below are never looked at, and those smaller than this share of the largest face never compete.
LOWEST_SCORE, COMPETES = 0.3, 0.5
STEPS = 50


def competing_detections(
    candidate: Candidate, pictures: Pictures, *, on_picture: Callable[[], None] | None = None
) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns score [n] and truth [n] of the detections that compete; doubtful places are left out.

    True is the largest labelled face of a picture.
    """
    scores, truths = [], []
    for index, entry in enumerate(pictures):
        seen = [
            face for face in candidate.low.look(load_image(pictures, index)) if face.score >= LOWEST_SCORE
        ]
        known = face_arrays(list(entry.faces))
        found = match(seen, known)
        if known.sure.any():
            areas = area(known.boxes[known.sure])
            subject = int(found.found[int(np.argmax(areas))])
            for i in [*(int(i) for i in found.found if i >= 0), *(int(i) for i in found.false)]:
                if seen[i].box.area >= COMPETES * float(areas.max()):
                    scores.append(seen[i].score)
                    truths.append(i == subject)
        if on_picture is not None:
            on_picture()
    return np.array(scores, np.float64), np.array(truths, np.bool_)


def fit_scores(scores: Floats, truths: NDArray[np.bool_], *, data: str) -> ScoreCalibration:
    """Fits a logistic curve over the logit of the score by Newton's method.

    The targets are smoothed by the number of detections (Platt 1999, 2.2), so that few false ones do not
    make it a step. Raises DataSetError without true or false detections, or for a curve that falls.
    """
    true, false = int(truths.sum()), int((~truths).sum())
    if not true or not false:
        raise DataSetError(f"{true} true and {false} false detections: both are needed to calibrate")
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    columns = np.stack([np.ones_like(inside), np.log(inside / (1 - inside))], axis=1)
    targets = np.where(truths, (true + 1) / (true + 2), 1 / (false + 2))
    weights = np.zeros(2)
    for _ in range(STEPS):
        likely = 1 / (1 + np.exp(-np.clip(columns @ weights, -50, 50)))
        slope = columns.T @ (targets - likely)
        bend = (columns * (likely * (1 - likely))[:, None]).T @ columns + 1e-6 * np.eye(2)
        weights = weights + np.linalg.solve(bend, slope)
    if not weights[1] > 0:
        raise DataSetError(
            "a higher score is not likelier to be the subject's: the detector cannot be calibrated"
        )
    text = f"{data}; {true} true and {false} false detections that compete"
    return ScoreCalibration(offset=round(float(weights[0]), 4), slope=round(float(weights[1]), 4), data=text)
