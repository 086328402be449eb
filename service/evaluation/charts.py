"""Draws curves and histograms as SVG that stands in the report itself: no script, no other file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from service.evaluation.figures import DetPoint, Histogram

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 14, 44
# Colours of the style sheet, by place.
INKS = 6
LOWEST_RATE = 1e-6
Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Line:
    """A curve by its points (x, y)."""

    name: str
    points: tuple[tuple[float, float], ...]


def det_chart(curves: Sequence[tuple[str, Sequence[DetPoint]]]) -> str:
    """FNMR over FMR, both logarithmic."""
    lines = [Line(name, tuple((p.fmr, p.fnmr) for p in points)) for name, points in curves if points]
    rates = [value for line in lines for point in line.points for value in point if value > 0]
    floor = 10 ** math.floor(math.log10(max(LOWEST_RATE, min(rates, default=1e-3))))
    x, y = _log(floor, 1.0, LEFT, WIDTH - RIGHT), _log(floor, 1.0, HEIGHT - BOTTOM, TOP)
    decades = [10.0**n for n in range(round(math.log10(floor)), 1)]
    parts = [_grid(x, y, decades, decades, _rate, _rate), _axes("FMR", "FNMR")]
    parts += [_polyline(line, place, x, y) for place, line in enumerate(lines)]
    return _svg("DET", parts) + _legend(lines)


def cmc_chart(curves: Sequence[tuple[str, Sequence[float]]]) -> str:
    """The share of searches whose mate is among the first ranks."""
    lines = [Line(name, tuple(enumerate(shares, 1))) for name, shares in curves if shares]
    ranks = max((len(line.points) for line in lines), default=2)
    floor = math.floor(10 * min((y for line in lines for _, y in line.points), default=0.9)) / 10
    floor = min(floor, 0.9)
    x, y = _linear(1, max(2, ranks), LEFT, WIDTH - RIGHT), _linear(floor, 1.0, HEIGHT - BOTTOM, TOP)
    steps = [floor + (1 - floor) * n / 5 for n in range(6)]
    parts = [
        _grid(x, y, [n for n in (1, 5, 10, 15, 20) if n <= ranks], steps, lambda v: f"{v:g}", _percent),
        _axes("rank", "mates found"),
    ]
    parts += [_polyline(line, place, x, y) for place, line in enumerate(lines)]
    return _svg("CMC", parts) + _legend(lines)


def histogram_chart(found: Histogram, thresholds: Sequence[tuple[str, float]]) -> str:
    """Scores of mated and of non-mated comparisons, each as shares of its own, with thresholds as lines."""
    low, high = found.edges[0], found.edges[-1]
    shares = [[n / max(1, sum(counts)) for n in counts] for counts in (found.non_mated, found.mated)]
    top = max(max(one) for one in shares) or 1.0
    x, y = _linear(low, high, LEFT, WIDTH - RIGHT), _linear(0, top, HEIGHT - BOTTOM, TOP)
    ticks = [low + (high - low) * n / 5 for n in range(6)]
    parts = [_grid(x, y, ticks, [0.0, top / 2, top], lambda v: f"{v:.2f}", _percent), _axes("score", "share")]
    for place, one in enumerate(shares):
        path = f"M{x(low):.1f},{y(0):.1f}"
        for left, right, share in zip(found.edges, found.edges[1:], one, strict=False):
            path += f"L{x(left):.1f},{y(share):.1f}L{x(right):.1f},{y(share):.1f}"
        path += f"L{x(high):.1f},{y(0):.1f}Z"
        parts.append(f'<path class="area ink{place}" d="{path}"/>')
    for place, (name, threshold) in enumerate(thresholds):
        if low <= threshold <= high:
            at = x(threshold)
            parts.append(
                f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
            )
            parts.append(
                f'<text class="limit" x="{at + 3:.1f}" y="{TOP + 10 + 12 * place}">{escape(name)}</text>'
            )
    key = [Line("different people", ()), Line("the same person", ())]
    return _svg("score histogram", parts) + _legend(key)


def _linear(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _log(low: float, high: float, start: float, end: float) -> Scale:
    inner = _linear(math.log10(low), math.log10(high), start, end)
    return lambda value: inner(math.log10(max(low, value)))


def _rate(value: float) -> str:
    return f"{value:g}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _grid(
    x: Scale,
    y: Scale,
    across: Sequence[float],
    up: Sequence[float],
    name_x: Callable[[float], str],
    name_y: Callable[[float], str],
) -> str:
    parts = []
    for value in across:
        at = f"{x(value):.1f}"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{at}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{name_x(value)}</text>')
    for value in up:
        at = f"{y(value):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{float(at) + 3:.1f}" text-anchor="end">{name_y(value)}</text>')
    return "".join(parts)


def _axes(across: str, up: str) -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{across}</text>'
        f'<text transform="translate(11 {middle:.0f}) rotate(-90)" text-anchor="middle">{up}</text>'
    )


def _polyline(line: Line, place: int, x: Scale, y: Scale) -> str:
    points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line.points)
    return f'<polyline class="curve ink{place % INKS}" points="{points}"/>'


def _legend(lines: Sequence[Line]) -> str:
    keys = "".join(
        f'<li><span class="key ink{place % INKS}"></span>{escape(line.name)}</li>'
        for place, line in enumerate(lines)
    )
    return f'<ul class="legend">{keys}</ul>'


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )
