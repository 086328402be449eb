"""Turns impostor and mated scores of a pair of conditions into operating points.

The threshold of a stated FMR is the largest of those that everybody, and each group of people, asks for. So
the stated FMR holds within each group as well.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from faces.calibration import EVERYBODY, GroupRate, Method, OperatingPoint, PairPoints
from faces.rates import metrics
from faces.rates.bounds import design_effect, fmr_upper, tail_model
from faces.rates.tail import Floats, Impostors, Tail, tail_of
from faces.types import Pair

FMR_POINTS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# A group of fewer people has too few impostors for a threshold of its own.
LEAST_GROUP = 250
# An extrapolation ends one decade beyond what was observed over everybody.
REACH = 10.0
DIGITS = 1e6


class Unsupported(ValueError):
    """The data cannot support a single operating point."""


@dataclass(frozen=True, slots=True, eq=False)
class Mated:
    """Comparisons of a probe with another photo of the same person. `failed`: probes without a template."""

    scores: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    failed: int = 0

    @property
    def count(self) -> int:
        return len(self.scores) + self.failed

    def fnmr(self, threshold: float) -> float | None:
        """The share that a threshold rejects, failed probes among them; None if there is no comparison."""
        if not len(self.scores):
            return None
        return round(metrics.fnmr(self.scores, threshold, failed=self.failed), 6)

    def __add__(self, other: Mated) -> Mated:
        return Mated(np.concatenate([self.scores, other.scores]), self.failed + other.failed)


def supported(pair: Pair, people: int, targets: Sequence[float] = FMR_POINTS) -> list[float]:
    """Returns the targets that so many people support, loosest first. Raises Unsupported if none is."""
    possible = [t for t in sorted(targets, reverse=True) if metrics.supports_fmr(people, t)]
    if not possible:
        named = ", ".join(f"{target:g}" for target in targets)
        raise Unsupported(
            f"{pair}: {people} subjects support no FMR of {named}"
            f" ({people * (people - 1) // 2} pairs; {metrics.ERRORS_NEEDED} false matches are needed)"
        )
    return possible


@dataclass(frozen=True, slots=True, eq=False)
class _Population:
    """Everybody, or one group: its impostor scores, and the threshold that it asks for at an FMR."""

    name: str
    people: int
    tail: Tail

    def wanted(self, fmr: float) -> tuple[float, Method]:
        """Observed if the FMR allows 30 false matches that are as good as independent; else extrapolated.

        Raises Unsupported if the scores have no tail to extrapolate.
        """
        allowed = self.tail.allowed(fmr)
        supported = metrics.supports_fmr(self.people, fmr)
        if supported:
            independent = allowed / design_effect(self.tail, allowed)
            if independent >= metrics.ERRORS_NEEDED:
                return self.tail.threshold(fmr), "observed"
        try:
            model = tail_model(self.tail)
        except ValueError as error:
            if supported:
                return self.tail.threshold(fmr), "observed"
            raise Unsupported(f"{self.name}: {error}") from error
        if fmr >= model.share:
            # So far out that the highest scores lie above: there is nothing to extrapolate.
            return self.tail.threshold(fmr), "observed"
        return model.threshold(fmr), "extrapolated"

    def rate(self, threshold: float, own: float, method: Method) -> GroupRate:
        return GroupRate(
            group=self.name,
            people=self.people,
            pairs=self.people * (self.people - 1) // 2,
            fmr=_short(self.tail.accepted(threshold) / self.tail.total),
            fmr_upper=_short(fmr_upper(self.tail, threshold)),
            own=round(min(1.0, max(-1.0, own)), 6),
            method=method,
        )


def operating_points(
    pair: Pair,
    impostors: Impostors,
    mated: Mated,
    *,
    targets: Sequence[float] = FMR_POINTS,
    groups: Sequence[str] | None = None,
) -> PairPoints:
    """Sets thresholds at every target FMR that the number of people supports (rule of 30), and one decade on.

    `groups`: in which the FMR must hold too; None for those with enough people. A point whose threshold would
    lie above 1, the largest score, is left out, with all stricter ones. Raises Unsupported if none is left.
    """
    possible = supported(pair, impostors.people, targets)
    reach = possible[-1] / REACH * (1 - 1e-9)
    wanted = [target for target in sorted(targets, reverse=True) if target >= reach]
    everybody = _Population(EVERYBODY, impostors.people, tail_of(impostors, loosest=wanted[0]))
    within = {name: impostors.within(name) for name in (groups_of(impostors) if groups is None else groups)}
    populations = [
        _Population(name, own.people, tail_of(own, loosest=wanted[0])) for name, own in within.items()
    ]
    points: list[OperatingPoint] = []
    for fmr in wanted:
        made = _point(fmr, everybody, populations, mated, least=points[-1].threshold if points else -1.0)
        if made is None:
            break
        points.append(made)
    if not points:
        raise Unsupported(
            f"{pair}: no threshold keeps FMR {possible[0]:g}: more pairs of strangers than that score 1,"
            " as if the network gave every face one template"
        )
    return PairPoints(
        reference=pair.reference,
        probe=pair.probe,
        subjects=impostors.people,
        mated=mated.count,
        non_mated=impostors.comparisons,
        points=tuple(points),
    )


def _point(
    fmr: float, everybody: _Population, groups: Sequence[_Population], mated: Mated, *, least: float
) -> OperatingPoint | None:
    """The point at an FMR, `least` or more; None if it cannot be reached."""
    try:
        asked = [one.wanted(fmr) for one in (everybody, *groups)]
    except Unsupported:
        return None
    highest = max(own for own, _ in asked)
    # Rounded up: a shorter number must not let one more comparison in.
    threshold = math.ceil(max(highest, least) * DIGITS) / DIGITS
    if threshold > 1.0:
        return None
    names = [one.name for one in (everybody, *groups)]
    return OperatingPoint(
        fmr=fmr,
        threshold=threshold,
        fmr_upper=_short(fmr_upper(everybody.tail, threshold)),
        fnmr=mated.fnmr(threshold),
        method=asked[0][1],
        own=None if asked[0][0] == highest else round(max(-1.0, asked[0][0]), 6),
        set_by=next(name for name, (own, _) in zip(names, asked, strict=True) if own == highest),
        groups=tuple(one.rate(threshold, *own) for one, own in zip(groups, asked[1:], strict=True)),
    )


def groups_of(impostors: Impostors) -> list[str]:
    """Groups with enough people who have a probe, by name."""
    counts = Counter(impostors.groups[i] for i in np.unique(impostors.own))
    return sorted(name for name, n in counts.items() if name is not None and n >= LEAST_GROUP)


def strictest(points: Sequence[PairPoints], *, but_not_below: float) -> float:
    """Returns the smallest FMR, `but_not_below` or more, that every pair has observed; where they have
    observed none, the loosest that they share.

    Raises Unsupported if the pairs share none.
    """
    observed = set.intersection(*({p.fmr for p in c.points if p.method == "observed"} for c in points))
    shared = set.intersection(*({p.fmr for p in c.points} for c in points))
    enough = [fmr for fmr in observed if fmr >= but_not_below]
    if enough:
        return min(enough)
    if not shared:
        raise Unsupported("the conditions support no common FMR")
    return max(shared)


def _short(rate: float) -> float:
    return float(f"{rate:.3g}")
