"""A second network's verdict on detections whose score leaves it open whether they are faces.

The detector weighs every place of a picture in one pass; cloth, a leaf or a letter may look like a face. The
verifier sees one doubtful detection at a time with its surroundings, and says whether it is a face. Its
verdict and the score, after a second look if there is one, make the new score; what is clearly a face, or
clearly none, is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from faces.bundle import DetectorSpec, VerdictRule, VerifierSpec
from faces.preprocess import to_network
from faces.second_look import window_canvas
from faces.types import Face, Image

Floats = NDArray[np.float32]


def verifier_input(image: Image, faces: Sequence[Face], spec: VerifierSpec) -> Floats:
    """Returns what the verifier sees of some detections of an image: float32 [n, 3, side, side]."""
    side = spec.input_px
    crops = np.zeros((len(faces), 3, side, side), np.float32)
    for row, face in enumerate(faces):
        crops[row] = to_network(window_canvas(image, face.box, spec.window, side_px=side), spec.normalisation)
    return crops


def judged(
    faces: Sequence[Face], logits: Floats, spec: DetectorSpec, *, nobody_else: bool = False
) -> list[Face]:
    """Returns doubtful detections with the scores that detector and verifier give them together.

    `faces`: in the order of `faces.second_look.doubtful`, so that the first is the one that the picture would
    be about; `logits` [n]: the verifier's outputs; `nobody_else`: nothing in the picture is clearly a face.
    Raises ValueError if the detector has no verifier, or for another number of outputs.
    """
    if spec.verifier is None:
        raise ValueError("this detector has no verifier")
    done = []
    for number, (face, logit) in enumerate(zip(faces, logits.tolist(), strict=True)):
        score = together(face.score, logit, spec.verifier, alone=nobody_else and number == 0)
        probability = None if spec.calibration is None else spec.calibration.probability(score)
        done.append(replace(face, score=score, probability=probability))
    return done


def nobody_clear(faces: Sequence[Face], spec: DetectorSpec) -> bool:
    """Tells whether no detection of a picture is clearly a face."""
    return spec.verifier is not None and all(face.score < spec.verifier.below for face in faces)


def together(score: float, logit: float, rule: VerdictRule, *, alone: bool = False) -> float:
    """Returns the score of a doubtful detection after the verifier's verdict, always below `rule.below`: it
    stays behind the detections that need no verdict."""
    inside = min(max(score, 1e-6), 1.0 - 1e-6)
    exponent = rule.offset + rule.score * math.log(inside / (1.0 - inside)) + rule.verdict * logit
    exponent += rule.alone if alone else 0.0
    likely = 1.0 / (1.0 + math.exp(-min(max(exponent, -50.0), 50.0)))
    return min(likely, math.nextafter(rule.below, 0.0))
