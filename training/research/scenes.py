"""How near a VIS -> NIR transform comes to real near-infrared, on registered pairs of scenes.

Scenes are landscapes and buildings, not faces: foliage is bright at 850 nm and skin rules do not
apply. The check says whether tone and structure are kept better than by a plain grey picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels
from training.data.records import DataSetError
from training.synthesis.nir import NirGenerator, transform
from training.synthesis.regions import Floats
from training.synthesis.relit import channel_law
from training.synthesis.simple import to_linear, to_pixels

MAX_SIDE_PX = 512
BOOTSTRAPS = 2000
CONFIDENCE = 0.95
# Wang et al. 2004, section III-C: window and constants.
SSIM_SIGMA, SSIM_K1, SSIM_K2 = 1.5, 0.01, 0.03
TRIMMED = 0.1
SLOPES = 4000

Measure = Literal["pearson", "ssim", "gradient"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
Candidate = Callable[[Pixels, np.random.Generator], Floats]


@dataclass(frozen=True, slots=True)
class Likeness:
    """One candidate beside one real NIR picture: Pearson correlation of pixel values, SSIM after a
    robust gain and offset, Pearson correlation of gradient magnitudes. Each is 1 at best."""

    pearson: float
    ssim: float
    gradient: float

    def value(self, measure: Measure) -> float:
        """One of the three, by name."""
        return {"pearson": self.pearson, "ssim": self.ssim, "gradient": self.gradient}[measure]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over pairs with the ends of its bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class CandidateReport:
    """A candidate's likeness for each pair, in the order of the report's pairs."""

    name: str
    pairs: tuple[Likeness, ...]

    def mean(self, measure: Measure) -> Interval:
        """Over pairs."""
        return bootstrap_mean([pair.value(measure) for pair in self.pairs])

    def gain_over(self, other: CandidateReport, measure: Measure) -> Interval:
        """Mean difference to another candidate, paired by picture."""
        return bootstrap_mean(
            [
                one.value(measure) - two.value(measure)
                for one, two in zip(self.pairs, other.pairs, strict=True)
            ]
        )


@dataclass(frozen=True, slots=True)
class SceneReport:
    """All candidates on the same pairs; `candidates[0]` is the generator, then the baselines."""

    pairs: tuple[str, ...]
    candidates: tuple[CandidateReport, ...]

    def candidate(self, name: str) -> CandidateReport:
        """Raises KeyError for a name that was not compared."""
        for candidate in self.candidates:
            if candidate.name == name:
                return candidate
        raise KeyError(name)


def check_scenes(directory: Path, generator: NirGenerator, *, seed: int = 0) -> SceneReport:
    """Compare the generator, luminance, red and the relit generator's channel law with real NIR.

    `directory` holds pairs NNNN_{rgb,nir}.jpg. Raises DataSetError without pairs or for one that
    does not fit, ValueError from a generator that needs a face mesh: scenes have no face.
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


def likeness(picture: Floats, real: Floats) -> Likeness:
    """Both float32 [h, w], 0 to 1. The gain is taken out of the picture before SSIM."""
    fitted = robust_gain(picture, real)
    return Likeness(
        pearson=_pearson(picture, real),
        ssim=ssim(fitted, real),
        gradient=_pearson(_gradient(picture), _gradient(real)),
    )


def robust_gain(picture: Floats, real: Floats) -> Floats:
    """`picture` with the gain and offset of a least-squares line through all but the worst tenth of
    the pixels, begun at the median slope of random pairs of them; a negative gain is not allowed,
    for a negative is no likeness."""
    x, y = picture.ravel().astype(np.float64), real.ravel().astype(np.float64)
    one, two = np.random.default_rng(0).integers(0, len(x), (2, SLOPES))
    run = x[two] - x[one]
    apart = np.abs(run) > 1e-3
    gain = float(np.median((y[two] - y[one])[apart] / run[apart])) if apart.any() else 0.0
    offset = float(np.median(y - gain * x))
    for _ in range(3):
        miss = np.abs(gain * x + offset - y)
        kept = miss <= np.quantile(miss, 1.0 - TRIMMED)
        centre = x[kept].mean()
        spread = float(((x[kept] - centre) ** 2).sum())
        moved = float(((x[kept] - centre) * y[kept]).sum())
        gain = max(moved / spread, 0.0) if spread > 1e-9 else 0.0
        offset = float(y[kept].mean() - gain * centre)
    return np.asarray(np.clip(gain * picture + offset, 0.0, 1.0), np.float32)


def ssim(one: Floats, two: Floats) -> float:
    """Mean structural similarity of two pictures in [0, 1] (Wang et al. 2004, eq. 13)."""

    def mean(values: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), SSIM_SIGMA))

    a, b = one.astype(np.float64), two.astype(np.float64)
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def bootstrap_mean(values: list[float]) -> Interval:
    """Mean and percentile interval, resampling values with a fixed seed."""
    array = np.array(values)
    rng = np.random.default_rng(0)
    means = array[rng.integers(0, len(array), (BOOTSTRAPS, len(array)))].mean(axis=1)
    tail = (1.0 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(array.mean()), float(low), float(high))


def _pearson(one: Floats, two: Floats) -> float:
    a, b = (values.ravel().astype(np.float64) - float(values.mean()) for values in (one, two))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 1e-9 else 0.0


def _gradient(values: Floats) -> Floats:
    smooth = cv2.GaussianBlur(values, (0, 0), 1.0)
    dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(dx, dy), np.float32)


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
