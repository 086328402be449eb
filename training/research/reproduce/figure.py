"""Draws Fig. 4 as bars with deviations, and the ablation of the size of HSST's queues as curves."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.evaluation.plots import COLOURS, LINES
from training.research.reproduce.measure import Cell
from training.research.reproduce.printed import Line
from training.research.reproduce.published import On
from training.research.reproduce.run import Result

CURVES: tuple[tuple[str, Callable[[Cell], float]], ...] = (
    ("rank-1", lambda cell: cell.rank1.value),
    ("VR@FAR 1 %", lambda cell: cell.vr[0].vr.value),
    ("VR@FAR .1 %", lambda cell: cell.vr[1].vr.value),
)
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


def queue_png(results: Sequence[Result], *, title: str) -> bytes:
    """Draws means over folds, for masked NIR probes of the data set that was trained on; returns a PNG."""
    by_size: dict[int, list[Cell]] = defaultdict(list)
    for result in results:
        size = int(result.recipe["task"]["method"]["queue"])
        by_size[size] += [cell for cell in result.cells if cell.on is On.OWN and cell.masked]
    sizes = sorted(size for size, cells in by_size.items() if cells)
    figure = Figure(figsize=(6.2, 4.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for i, (name, read) in enumerate(CURVES):
        means = [float(np.mean([read(cell) for cell in by_size[size]])) for size in sizes]
        axes.plot(sizes, means, LINES[i] + "o", color=COLOURS[i], markersize=4, label=name)
    axes.set_xticks(sizes)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("columns of a queue, K")
    axes.set_ylabel("masked NIR probes, %")
    axes.grid(visible=True, linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
