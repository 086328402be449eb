"""Measures how alike two grey pictures are: correlation, structural similarity, correlation of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthesis.regions import Floats

# Wang et al. 2004, section III-C: window and constants.
SSIM_SIGMA, SSIM_K1, SSIM_K2 = 1.5, 0.01, 0.03
# The share of the pixels that the robust line leaves out, and how many slopes it begins with.
TRIMMED = 0.1
SLOPES = 4000

Measure = Literal["pearson", "ssim", "gradient"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike a picture and a real NIR picture are; each measure is 1 at best.

    `pearson`: correlation of pixel values; `ssim`: structural similarity after a robust gain and offset;
    `gradient`: correlation of gradient magnitudes.
    """

    pearson: float
    ssim: float
    gradient: float

    def value(self, measure: Measure) -> float:
        """Returns one measure by its name."""
        return {"pearson": self.pearson, "ssim": self.ssim, "gradient": self.gradient}[measure]


def likeness(picture: Floats, real: Floats) -> Likeness:
    """Compares two pictures, float32 [h, w] in [0, 1]. SSIM is measured after `robust_gain`."""
    fitted = robust_gain(picture, real)
    return Likeness(
        pearson=_pearson(picture, real),
        ssim=ssim(fitted, real),
        gradient=_pearson(_gradient(picture), _gradient(real)),
    )


def robust_gain(picture: Floats, real: Floats) -> Floats:
    """Returns `picture` with the gain and offset that bring it nearest to `real`.

    They are those of a least-squares line through all but the worst tenth of the pixels, begun at the median
    slope of random pairs of pixels. A negative gain becomes 0, because a negative is no likeness.
    """
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
    """Returns the mean structural similarity of two pictures in [0, 1] (Wang et al. 2004, eq. 13)."""

    def mean(values: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), SSIM_SIGMA))

    a, b = one.astype(np.float64), two.astype(np.float64)
    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def _pearson(one: Floats, two: Floats) -> float:
    a, b = (values.ravel().astype(np.float64) - float(values.mean()) for values in (one, two))
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 1e-9 else 0.0


def _gradient(values: Floats) -> Floats:
    smooth = cv2.GaussianBlur(values, (0, 0), 1.0)
    dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(dx, dy), np.float32)
