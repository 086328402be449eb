"""Draws DET and CMC curves as PNG pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from faces.rates.rank1 import cmc
from faces.rates.resampling import Floats
from faces.rates.scores import Comparison
from training.evaluation.verification import failed_mates

POINTS = 400
LOWEST = 1e-5
TICKS = (1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)
# Colours that colour-blind people can distinguish (Okabe and Ito), and line styles.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A curve of a plot: x and y [n]."""

    name: str
    x: Floats
    y: Floats


def det(name: str, comparison: Comparison) -> Curve:
    """Returns FMR (x) and FNMR (y) at `POINTS` thresholds, FMR ascending from one false match to all.

    Failed samples are misses at every threshold. Raises ValueError without mated or non-mated comparisons.
    """
    mates = np.sort(comparison.scores[comparison.mated])
    strangers = np.sort(comparison.scores[~comparison.mated])
    failed = failed_mates(comparison)
    if not len(mates) + failed or not len(strangers):
        raise ValueError("a DET curve needs mated and non-mated comparisons")
    accepted = np.unique(np.geomspace(1, len(strangers), POINTS).astype(np.int64))
    thresholds = strangers[len(strangers) - accepted]
    # Scores equal to the threshold are accepted too.
    fmr = 1.0 - np.searchsorted(strangers, thresholds, side="left") / len(strangers)
    missed = np.searchsorted(mates, thresholds, side="left") + failed
    return Curve(name, fmr, missed / (len(mates) + failed))


def cmc_curve(name: str, comparison: Comparison, *, max_rank: int = 20) -> Curve:
    """Returns rank (x) and the share of probes found up to it (y)."""
    share = cmc(comparison, max_rank=max_rank)
    return Curve(name, np.arange(1.0, len(share) + 1), share)


def det_png(curves: Sequence[Curve], *, title: str) -> bytes:
    """Draws on normal-deviate axes, where normally distributed scores give straight lines."""
    figure, axes = _page(title)
    for i, curve in enumerate(curves):
        axes.plot(_deviate(curve.x), _deviate(curve.y), LINES[i % 4], color=COLOURS[i % 6], label=curve.name)
    places = _deviate(np.array(TICKS))
    names = [f"{100 * tick:g}" for tick in TICKS]
    axes.set_xticks(places, names, fontsize=8)
    axes.set_yticks(places, names, fontsize=8)
    floor, ceiling = _deviate(np.array([LOWEST, 0.995]))
    axes.set_xlim(floor, ceiling)
    axes.set_ylim(floor, ceiling)
    axes.set_xlabel("FMR, %")
    axes.set_ylabel("FNMR, %")
    if curves:
        axes.legend(frameon=False)
    return _png(figure)


def cmc_png(curves: Sequence[Curve], *, title: str) -> bytes:
    """Draws the identification rate by rank."""
    figure, axes = _page(title)
    for i, curve in enumerate(curves):
        line = LINES[i % 4] + "o"
        axes.plot(curve.x, 100 * curve.y, line, color=COLOURS[i % 6], markersize=3, label=curve.name)
    lowest = min((100 * float(curve.y.min()) for curve in curves), default=0.0)
    axes.set_ylim(max(0.0, lowest - 5), 101)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("rank")
    axes.set_ylabel("probes found, %")
    if curves:
        axes.legend(frameon=False, loc="lower right")
    return _png(figure)


def _deviate(rates: Floats) -> Floats:
    normal = NormalDist()
    return np.array([normal.inv_cdf(min(max(float(rate), LOWEST / 2), 1 - LOWEST / 2)) for rate in rates])


def _page(title: str) -> tuple[Figure, Axes]:
    # pyplot would keep global state and look for a display.
    figure = Figure(figsize=(6.2, 5.0), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
