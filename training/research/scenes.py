"""Compares a VIS -> NIR transform with real near-infrared, on registered pairs of scenes.

Scenes are landscapes and buildings, not faces: foliage is bright at 850 nm and skin rules do not
apply. The comparison says whether the transform keeps tone and structure better than a grey picture does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faces.types import Pixels
from training.data.records import DataSetError
from training.research.likeness import Likeness, Measure, likeness
from training.synthesis.nir import NirGenerator, transform
from training.synthesis.regions import Floats
from training.synthesis.relit import channel_law
from training.synthesis.simple import to_linear, to_pixels

MAX_SIDE_PX = 512
BOOTSTRAPS = 2000
CONFIDENCE = 0.95

Candidate = Callable[[Pixels, np.random.Generator], Floats]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over pairs and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """The likeness of one candidate on each pair, in the order of the report's pairs."""

    name: str
    pairs: tuple[Likeness, ...]

    def mean(self, measure: Measure) -> Interval:
        """Returns the mean over pairs."""
        return bootstrap_mean([pair.value(measure) for pair in self.pairs])

    def gain_over(self, other: CandidateReport, measure: Measure) -> Interval:
        """Returns the mean difference to another candidate, paired by picture."""
        return bootstrap_mean(
            [
                one.value(measure) - two.value(measure)
                for one, two in zip(self.pairs, other.pairs, strict=True)
            ]
        )


@dataclass(frozen=True, slots=True)
class SceneReport:
    """All candidates on the same pairs: the generator first, then the baselines."""

    pairs: tuple[str, ...]
    candidates: tuple[CandidateReport, ...]

    def candidate(self, name: str) -> CandidateReport:
        """Raises KeyError if no candidate has the name."""
        for candidate in self.candidates:
            if candidate.name == name:
                return candidate
        raise KeyError(name)


def check_scenes(directory: Path, generator: NirGenerator, *, seed: int = 0) -> SceneReport:
    """Compares the generator, luminance, red and the relit generator's channel law with real NIR.

    `directory` holds pairs NNNN_{rgb,nir}.jpg. Raises DataSetError if there are no pairs or the pictures of
    one do not fit, ValueError if the generator needs a face mesh: scenes have no face.
    """
    candidates: dict[str, Candidate] = {
        generator.name: lambda pixels, rng: _grey(transform(generator, pixels, None, rng)),
        "luminance": lambda pixels, _: _grey(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)),
        "red channel": lambda pixels, _: _grey(np.ascontiguousarray(pixels[:, :, 2])),
        "relit channel law": lambda pixels, _: _grey(
            to_pixels(np.exp(channel_law(to_linear(pixels), unmixing=0.6)))
        ),
    }
    names = sorted(path.name.removesuffix("_rgb.jpg") for path in directory.glob("*_rgb.jpg"))
    if not names:
        raise DataSetError(f"{directory.name}: no pair NNNN_rgb.jpg and NNNN_nir.jpg in it")
    found: dict[str, list[Likeness]] = {name: [] for name in candidates}
    for number, pair in enumerate(names):
        visible, real = _read_pair(directory, pair)
        for name, candidate in candidates.items():
            rng = np.random.default_rng([seed, number])
            found[name].append(likeness(candidate(visible, rng), real))
    return SceneReport(
        tuple(names), tuple(CandidateReport(name, tuple(rows)) for name, rows in found.items())
    )


def bootstrap_mean(values: list[float]) -> Interval:
    """Returns the mean and its percentile interval, from resampling the values with a fixed seed."""
    array = np.array(values)
    rng = np.random.default_rng(0)
    means = array[rng.integers(0, len(array), (BOOTSTRAPS, len(array)))].mean(axis=1)
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(array.mean()), float(low), float(high))


def _grey(pixels: Pixels) -> Floats:
    grey = pixels[:, :, 0] if pixels.ndim == 3 else pixels
    return grey.astype(np.float32) / np.float32(255.0)


def _read_pair(directory: Path, pair: str) -> tuple[Pixels, Floats]:
    visible = cv2.imread(str(directory / f"{pair}_rgb.jpg"), cv2.IMREAD_COLOR)
    real = cv2.imread(str(directory / f"{pair}_nir.jpg"), cv2.IMREAD_GRAYSCALE)
    if visible is None or real is None:
        raise DataSetError(f"{directory.name}: {pair}_rgb.jpg or {pair}_nir.jpg is missing or cannot be read")
    if visible.shape[:2] != real.shape:
        raise DataSetError(f"{directory.name}: pair {pair} differs in size, so it is not registered")
    shrink = min(1.0, MAX_SIDE_PX / max(real.shape))
    size = (round(real.shape[1] * shrink), round(real.shape[0] * shrink))
    visible = cv2.resize(visible, size, interpolation=cv2.INTER_AREA)
    real = cv2.resize(real, size, interpolation=cv2.INTER_AREA)
    return np.asarray(visible, np.uint8), _grey(np.asarray(real, np.uint8))
