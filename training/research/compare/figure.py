"""Draws Fig. 4 as bars with deviations, and ablations as curves over their arms."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.evaluation.plots import COLOURS, LINES
from training.research.compare.plan import OWN, Plan
from training.research.compare.printed import Line, figure_name, value_of
from training.research.compare.result import Result

BAR = 0.38
# Below the lowest bar, so that differences of a few points can be seen.
MARGIN = 8.0


def bars_png(lines: Sequence[Line], *, title: str) -> bytes:
    """Draws a panel for each figure, a group of bars for each loss and a bar for each method; returns a PNG.

    The lines' labels are loss and method. A bar is the mean over folds, its line the standard deviation.
    """
    losses = list(dict.fromkeys(line.labels[0] for line in lines))
    methods = list(dict.fromkeys(line.labels[1] for line in lines))
    names = [value.name for value in lines[0].values] if lines else []
    figure = Figure(figsize=(8.6, 4.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    for panel, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), panel + 1)
        lowest = 100.0
        for i, method in enumerate(methods):
            mine = {line.labels[0]: line.values[panel] for line in lines if line.labels[1] == method}
            have = [loss for loss in losses if loss in mine and mine[loss].rates]
            x = [losses.index(loss) + (i - (len(methods) - 1) / 2) * BAR for loss in have]
            means, stds = [mine[loss].mean for loss in have], [mine[loss].std for loss in have]
            axes.bar(x, means, BAR, yerr=stds, capsize=3, color=COLOURS[i], label=method)
            lowest = min([lowest, *(m - s for m, s in zip(means, stds, strict=True))])
        axes.set_xticks(range(len(losses)), losses)
        axes.set_ylim(max(0.0, lowest - MARGIN), 100.5)
        axes.set_ylabel(f"{name}, masked NIR probes, %", fontsize=9)
        axes.grid(visible=True, axis="y", linewidth=0.4, alpha=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if panel == 0:
            axes.legend(frameon=False, loc="lower right", fontsize=8)
    return _png(figure)


def curves_png(plan: Plan, results: Sequence[Result], *, title: str) -> bytes:
    """Draws each figure of masked probes of the fold that was trained on, arm by arm; returns a PNG."""
    figure = Figure(figsize=(6.8, 4.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = [arm.name for arm in plan.arms if any(result.arm == arm.name for result in results)]
    for i, far in enumerate((None, *plan.file.fars)):
        values = [value_of(results, name, OWN, far, masked=True) for name in names]
        means = [value.mean for value in values if value.rates]
        axes.plot(range(len(means)), means, LINES[i] + "o", color=COLOURS[i], label=figure_name(far))
    axes.set_xticks(range(len(names)), names, fontsize=7, rotation=20, ha="right")
    axes.set_title(title, fontsize=10)
    axes.set_ylabel("masked NIR probes, %")
    axes.grid(visible=True, linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
