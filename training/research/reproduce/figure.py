"""Draws Fig. 4 as it is read here: rank-1 and VR of masked probes by the size of HSST's queues."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.evaluation.plots import COLOURS, LINES
from training.research.reproduce.measure import Cell
from training.research.reproduce.published import On
from training.research.reproduce.run import Result

CURVES: tuple[tuple[str, Callable[[Cell], float]], ...] = (
    ("rank-1", lambda cell: cell.rank1.value),
    ("VR@FAR 1 %", lambda cell: cell.vr[0].vr.value),
    ("VR@FAR .1 %", lambda cell: cell.vr[1].vr.value),
)


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
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
