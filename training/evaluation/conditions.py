"""Computes figures by condition: spectrum, masked or not on either side, and at one shared threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faces.rates.resampling import BOOTSTRAPS
from faces.rates.scores import Comparison
from faces.types import Condition, Spectrum
from training.evaluation.figures import FMR_POINTS, Figures, figures
from training.evaluation.pools import Bench
from training.evaluation.verification import ThresholdRule, failed_mates


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to compute of each comparison."""

    fmr_points: tuple[float, ...] = FMR_POINTS
    bootstraps: int = BOOTSTRAPS
    seed: int = 0
    rule: ThresholdRule = "at_most"

    def figures(self, comparison: Comparison) -> Figures:
        """See `training.evaluation.figures.figures`, also for what it raises."""
        return figures(
            comparison,
            fmr_points=self.fmr_points,
            bootstraps=self.bootstraps,
            seed=self.seed,
            rule=self.rule,
        )


@dataclass(frozen=True, slots=True)
class ConditionFigures:
    """Figures of the probes of one condition against the masked or the unmasked references."""

    condition: Condition
    gallery_masked: bool
    figures: Figures


def by_condition(bench: Bench, asked: Asked) -> tuple[ConditionFigures, ...]:
    """Measures each condition of the probes against the unmasked gallery, or the masked one if it is all."""
    masked = bench.gallery_states[0]
    return tuple(_measured(bench, condition, masked, asked) for condition in bench.conditions)


def mask_matrix(bench: Bench, asked: Asked) -> tuple[ConditionFigures, ...]:
    """Measures the 2 x 2 of the paper's Table I, for each spectrum of the probes that has all four cells."""
    found: list[ConditionFigures] = []
    for spectrum in (Spectrum.NIR, Spectrum.VIS):
        conditions = [Condition(spectrum, masked) for masked in (False, True)]
        if bench.gallery_states == (False, True) and set(conditions) <= set(bench.conditions):
            found += [_measured(bench, c, masked, asked) for masked in (False, True) for c in conditions]
    return tuple(found)


def _measured(bench: Bench, condition: Condition, gallery_masked: bool, asked: Asked) -> ConditionFigures:
    comparison = bench.compare(condition, gallery_masked=gallery_masked)
    return ConditionFigures(condition, gallery_masked, asked.figures(comparison))


@dataclass(frozen=True, slots=True)
class RatesAt:
    """FMR and TAR of probes at a threshold that was set on other comparisons."""

    name: str
    fmr: float
    tar: float


@dataclass(frozen=True, slots=True)
class SharedThreshold:
    """The threshold that keeps an FMR in every condition, and the rates of each condition there."""

    fmr: float
    threshold: float
    rates: tuple[RatesAt, ...]


def shared_thresholds(bench: Bench, conditions: Sequence[ConditionFigures]) -> tuple[SharedThreshold, ...]:
    """Returns, for each FMR that all conditions support, the largest of their thresholds."""
    if not conditions:
        return ()
    common = set.intersection(*(set(c.figures.thresholds) for c in conditions))
    top = {fmr: max(c.figures.thresholds[fmr] for c in conditions) for fmr in sorted(common, reverse=True)}
    comparisons = [(c, bench.compare(c.condition, gallery_masked=c.gallery_masked)) for c in conditions]
    return tuple(
        SharedThreshold(
            fmr, limit, tuple(rates_at(str(c.condition), compared, limit) for c, compared in comparisons)
        )
        for fmr, limit in top.items()
    )


def rates_at(name: str, comparison: Comparison, threshold: float) -> RatesAt:
    """Returns the rates at a threshold. Raises ValueError without mated or without non-mated comparisons."""
    accepted = comparison.scores.astype(np.float64) >= threshold
    mated = comparison.mated
    mates = int(mated.sum()) + failed_mates(comparison)
    strangers = mated.size - int(mated.sum())
    if not mates or not strangers:
        raise ValueError(f"{name}: there are no mated or no non-mated comparisons")
    return RatesAt(
        name, float((accepted & ~mated).sum() / strangers), float((accepted & mated).sum() / mates)
    )
