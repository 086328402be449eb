"""Fits how a detector's score and a verifier's output make one score: on validation pictures.

A logistic curve over the logits of both is fitted on the doubtful detections. It is then moved as low as the
false faces allow that are asked for, and never finds fewer labelled faces than the detector alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from faces.bundle import LookWindow, Normalisation, VerdictRule
from faces.preprocess import to_network
from faces.second_look import window_canvas
from faces.types import Face, Image
from training.data.network_input import NORMALISATION
from training.data.records import DataSetError
from training.detector.candidates import Candidate
from training.detector.evaluate import load_image
from training.detector.matching import match
from training.detector.pictures import Pictures
from training.detector.scenes import FaceArrays, face_arrays
from training.detector.verifier import VerifierConfig, VerifierNet

Floats = NDArray[np.float64]
# Detections below are never judged.
LOWEST_SCORE = 0.3
STEPS, RIDGE = 50, 1e-2


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Detections in `pictures`: the score of the first look and that after a second one (the same without
    one), the verifier's output, and the truth: [n] each."""

    firsts: Floats
    scores: Floats
    outputs: Floats
    truths: NDArray[np.bool_]
    pictures: int

    def among(self, least: float, below: float) -> Judged:
        """Those whose first score lies from `least` to below `below`."""
        here = (self.firsts >= least) & (self.firsts < below)
        return Judged(
            self.firsts[here], self.scores[here], self.outputs[here], self.truths[here], self.pictures
        )


@dataclass(frozen=True, slots=True)
class Verifier:
    """A trained verifier, run by torch."""

    net: VerifierNet
    config: VerifierConfig
    normalisation: Normalisation = NORMALISATION

    def outputs(self, image: Image, faces: Sequence[Face]) -> Floats:
        """The logits of detections of one image [n]."""
        if not faces:
            return np.zeros(0)
        window, side = LookWindow(times=self.config.times), self.config.input_px
        crops = [
            to_network(window_canvas(image, face.box, window, side_px=side), self.normalisation)
            for face in faces
        ]
        with torch.no_grad():
            logits: Floats = self.net(torch.from_numpy(np.stack(crops)))[:, 0].numpy().astype(np.float64)
        return logits


def judge(
    candidate: Candidate,
    verifier: Verifier,
    pictures: Pictures,
    scenes: Sequence[Image],
    *,
    on_picture: Callable[[], None] | None = None,
) -> Judged:
    """Shows the verifier every detection of pictures and of scenes without faces, but for doubtful places.

    Raises DataSetError if the candidate has a verifier already.
    """
    spec = candidate.low.spec.model_copy(update={"verifier": None})
    if spec != candidate.low.spec:
        raise DataSetError(f"{candidate.name} has a verifier already: fit it to the detector without one")
    firsts: list[float] = []
    scores: list[float] = []
    truths: list[bool] = []
    outputs: list[Floats] = []

    def look(image: Image, known: FaceArrays) -> None:
        seen = [face for face in candidate.low.first_look(image) if face.score >= LOWEST_SCORE]
        again = candidate.low.looked_again(image, seen)
        found = match(seen, known)
        true = [int(i) for i in found.found if i >= 0]
        chosen = [*true, *(int(i) for i in found.false)]
        firsts.extend(seen[i].score for i in chosen)
        scores.extend(again.get(i, seen[i]).score for i in chosen)
        truths.extend([True] * len(true) + [False] * len(found.false))
        outputs.append(verifier.outputs(image, [seen[i] for i in chosen]))
        if on_picture is not None:
            on_picture()

    for index, entry in enumerate(pictures):
        look(load_image(pictures, index), face_arrays(list(entry.faces)))
    for image in scenes:
        look(image, face_arrays([]))
    return Judged(
        np.array(firsts),
        np.array(scores),
        np.concatenate([*outputs, np.zeros(0)]),
        np.array(truths, np.bool_),
        len(pictures) + len(scenes),
    )


def fit_rule(
    judged: Judged,
    *,
    least: float,
    below: float,
    threshold: float,
    most_false: float,
    data: str,
    alone: float = 0.0,
) -> VerdictRule:
    """Returns the rule for the doubtful detections that score from `least` to below `below`.

    The curve is moved as low as leaves `most_false` false faces a picture at the detector's `threshold`: to
    the middle between the next false face and the true one above it. `alone`: as in the rule. Raises
    DataSetError without true or false detections, and if fewer labelled faces pass than by one look.
    """
    doubt = judged.among(least, below)
    true, false = int(doubt.truths.sum()), int((~doubt.truths).sum())
    if not true or not false:
        raise DataSetError(
            f"{true} true and {false} false doubtful detections: both are needed to fit a rule"
        )
    inside = np.clip(doubt.scores, 1e-6, 1 - 1e-6)
    columns = np.stack([np.ones_like(inside), np.log(inside / (1 - inside)), doubt.outputs], axis=1)
    weights = _logistic(columns, doubt.truths)
    if not weights[2] > 0:
        raise DataSetError("a better verdict is not likelier to be right: the verifier cannot be used")
    score = max(0.0, float(weights[1]))
    exponents = score * columns[:, 1] + weights[2] * columns[:, 2]
    # Those beyond doubt stay false whatever the verdict is.
    allowed = int(most_false * judged.pictures) - int((~judged.truths & (judged.firsts >= below)).sum())
    falling = np.sort(exponents[~doubt.truths])[::-1]
    end = float(falling[allowed]) if 0 <= allowed < len(falling) else float(exponents.min()) - 1.0
    if allowed < 0:
        end = float(exponents.max()) + 1.0
    passing = exponents[doubt.truths & (exponents > end)]
    before = int((doubt.firsts[doubt.truths] >= threshold).sum())
    if len(passing) < before:
        raise DataSetError(
            f"{len(passing)} of {before} doubtful faces would be left: allow more false faces, or train on"
        )
    end = (end + float(passing.min())) / 2
    return VerdictRule(
        least=least,
        below=below,
        offset=round(float(np.log(threshold / (1 - threshold))) - end, 4),
        score=round(score, 4),
        verdict=round(float(weights[2]), 4),
        alone=alone,
        data=f"{data}; {true} true and {false} false doubtful detections",
    )


def _logistic(columns: Floats, truths: NDArray[np.bool_]) -> Floats:
    """Fits a logistic curve by Newton's method, with smoothed targets (Platt 1999, 2.2): [columns]."""
    true, false = int(truths.sum()), int((~truths).sum())
    targets = np.where(truths, (true + 1) / (true + 2), 1 / (false + 2))
    weights = np.zeros(columns.shape[1])
    for _ in range(STEPS):
        likely = 1 / (1 + np.exp(-np.clip(columns @ weights, -50, 50)))
        slope = columns.T @ (targets - likely) - RIDGE * weights
        bend = (columns * (likely * (1 - likely))[:, None]).T @ columns + RIDGE * np.eye(len(weights))
        weights = weights + np.linalg.solve(bend, slope)
    return weights
