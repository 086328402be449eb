"""Computes every figure of a comparison: rank-1, VR at FAR, failures, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from faces.rates.intervals import Interval
from faces.rates.metrics import ERRORS_NEEDED, supports_fmr
from faces.rates.rank1 import counts_at_rank, success_rate
from faces.rates.resampling import BOOTSTRAPS
from faces.rates.scores import Comparison
from training.evaluation.verification import PairScores, ThresholdRule, Verification

FMR_POINTS = (1e-2, 1e-3, 1e-4)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one comparison. Rates are shares, 0 to 1.

    `fta`, `fte`: shares of the probes and of the references that gave no template. `subjects`: how
    many have probes. `mated`: mated comparisons, failed ones included; `non_mated`: without failed ones.
    `refused`: the FMR points that the number of subjects does not support, and why.
    """

    rank1: Interval
    verification: tuple[Verification, ...]
    refused: Mapping[float, str]
    fta: float
    fte: float
    probes: int
    references: int
    subjects: int
    mated: int
    non_mated: int

    @property
    def tar(self) -> dict[float, Interval]:
        """1 - FNMR at each supported FMR."""
        return {point.fmr: point.tar for point in self.verification}

    @property
    def thresholds(self) -> dict[float, float]:
        return {point.fmr: point.threshold for point in self.verification}


def unsupported(subjects: int, fmr: float) -> str | None:
    """Returns why this number of subjects does not support a threshold at this FMR; None if it does."""
    if supports_fmr(subjects, fmr):
        return None
    pairs = subjects * (subjects - 1) // 2
    return (
        f"{subjects} subjects make {pairs} pairs, so FMR {fmr:g} would rest on"
        f" {pairs * fmr:.2g} of the {ERRORS_NEEDED} errors that the rule of 30 asks for"
    )


def figures(
    comparison: Comparison,
    *,
    fmr_points: Sequence[float] = FMR_POINTS,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
    rule: ThresholdRule = "at_most",
) -> Figures:
    """Measures closed-set rank-1 and VR at FAR of a comparison, with subject-bootstrap intervals.

    Raises ValueError if a probe's subject is not in the gallery, or if all pairs are of one kind.
    """
    probes, gallery = comparison.probes, comparison.gallery
    # Doddington's rule counts pairs of subjects on both sides: distractors do not replace probes.
    subjects = min(len(set(probes.subjects.tolist())), len(set(gallery.subjects.tolist())))
    reasons = {fmr: unsupported(subjects, fmr) for fmr in fmr_points}
    supported = [fmr for fmr, reason in reasons.items() if reason is None]
    pairs = PairScores(comparison)
    measured = pairs.measure(supported, bootstraps=bootstraps, seed=seed, rule=rule) if supported else ()
    return Figures(
        rank1=success_rate(counts_at_rank(comparison), bootstraps=bootstraps, seed=seed),
        verification=measured,
        refused={fmr: reason for fmr, reason in reasons.items() if reason is not None},
        fta=len(probes.failed) / probes.samples,
        fte=len(gallery.failed) / gallery.samples,
        probes=probes.samples,
        references=gallery.samples,
        subjects=len(probes.everybody()),
        mated=pairs.mated,
        non_mated=pairs.non_mated,
    )
