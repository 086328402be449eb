"""By which threshold a comparison is decided: that of its own pair of conditions, or none.

A pair without calibration borrows from no other: without a threshold in the request, nothing matches there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from faces.calibration import (
    Calibration,
    OperatingPoint,
    UnsupportedFmr,
    fmr_for_fpir,
    fpir_at,
)
from faces.types import CONDITIONS, Condition, Pair, Spectrum, Turn
from service.errors import UnsupportedFmrPoint
from service.spaces.space import EmbeddingSpace
from service.spaces.thresholds import Origin, Origins


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Decides at a calibrated `fmr`, at a `threshold`, so that a stranger passes the whole gallery with the
    probability `fpir` at most, or, without any of these, at the default FMR.

    `spectrum`: None to recognise it. `every_face`: describe all faces, not only the meant one; `most`: of
    these only so many, the largest. `top_k`: length of the candidate list. `min_score`: the lowest detection
    score; None for the setting's. `turn`: how far the probe must be turned clockwise; None to find out.
    `camera`: the name of the camera that took the probe, which may have thresholds of its own.
    `calibrated_only`: a `threshold` decides nothing where the pair of conditions is not calibrated.
    """

    fmr: float | None = None
    threshold: float | None = None
    fpir: float | None = None
    spectrum: Spectrum | None = None
    every_face: bool = False
    most: int | None = None
    top_k: int = 5
    min_score: float | None = None
    turn: Turn | None = None
    camera: str | None = None
    calibrated_only: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """The threshold of one comparison, None where its pair of conditions has none.

    `target_fmr`: what it was calibrated for, None for a threshold of the caller's choice. `point`: the
    calibrated point that it comes from. `origin`: the installed version that set it, None for the bundle.
    """

    pair: Pair
    calibrated: bool
    threshold: float | None
    target_fmr: float | None = None
    point: OperatingPoint | None = None
    origin: Origin | None = None

    def accepts(self, score: float) -> bool:
        return self.threshold is not None and score >= self.threshold

    def margin(self, score: float) -> float | None:
        return None if self.threshold is None else score - self.threshold


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one request. `comparisons`: templates that a probe is compared with.

    `fmr`: the calibrated point that all pairs decide at, None where the caller gave a threshold. `origins`:
    of the points that an administrator installed.
    """

    calibration: Calibration
    threshold: float | None
    fmr: float | None
    comparisons: int
    calibrated_only: bool = False
    origins: Origins = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        options: Options,
        *,
        comparisons: int,
        origins: Origins | None = None,
    ) -> Rules:
        """Raises UnsupportedFmrPoint, naming the calibrated points, if what is asked is beyond them."""
        if options.threshold is not None:
            return cls(calibration, options.threshold, None, comparisons, options.calibrated_only)
        try:
            if options.fpir is not None:
                fmr = _within(calibration, options.fpir, comparisons)
            else:
                fmr = calibration.default_fmr if options.fmr is None else options.fmr
                # Before any work is done, whatever the conditions turn out to be.
                for points in calibration.pairs:
                    calibration.at(points.pair, fmr)
        except UnsupportedFmr as error:
            raise UnsupportedFmrPoint(str(error), supported=list(calibration.common)) from error
        return cls(calibration, None, fmr, comparisons, origins=origins or {})

    @classmethod
    def in_space(cls, space: EmbeddingSpace, options: Options, *, comparisons: int) -> Rules:
        """The rules that a space has for the camera of a request. Raises UnsupportedFmrPoint."""
        found = space.thresholds.of(options.camera)
        return cls.of(found.calibration, options, comparisons=comparisons, origins=found.origins)

    def rule(self, references: Sequence[Condition], probes: Sequence[Condition]) -> Rule:
        """The strictest rule of the conditions that both sides may be in, at least one each."""
        pairs = [Pair(reference, probe) for reference in references for probe in probes]
        return max(map(self._rule, pairs), key=_strictness)

    def by_reference(self, probes: Sequence[Condition]) -> dict[Condition, Rule]:
        """The rule of each condition that a reference may be in: looked up once for a whole search."""
        return {reference: self.rule([reference], probes) for reference in CONDITIONS}

    def usual(self, probes: Sequence[Condition]) -> Rule:
        """The rule against clear visible references: for a probe that was compared with nobody."""
        return self.rule(CONDITIONS[:1], probes)

    @property
    def loosest(self) -> float:
        """The lowest threshold of any pair; 1 where nothing can match."""
        rules = [self._rule(points.pair) for points in self.calibration.pairs]
        return min((one.threshold for one in rules if one.threshold is not None), default=1.0)

    @property
    def fpir(self) -> float | None:
        """The probability that a stranger passes the whole gallery; None for a threshold of one's own."""
        return None if self.fmr is None else fpir_at(self.fmr, self.comparisons)

    def _rule(self, pair: Pair) -> Rule:
        known = self.calibration.has(pair)
        if self.fmr is None:
            decides = known or not self.calibrated_only
            return Rule(pair, known, self.threshold if decides else None)
        if not known:
            return Rule(pair, False, None)
        point = self.calibration.at(pair, self.fmr)
        return Rule(pair, True, point.threshold, point.fmr, point, self.origins.get((pair, point.fmr)))


def _within(calibration: Calibration, fpir: float, comparisons: int) -> float:
    """The loosest point that keeps an FPIR. Raises UnsupportedFmrPoint saying what the gallery would need."""
    needed = fmr_for_fpir(fpir, comparisons)
    try:
        return calibration.within(needed)
    except UnsupportedFmr as error:
        strictest = calibration.common[-1]
        raise UnsupportedFmrPoint(
            f"FPIR {fpir:g} over {comparisons} templates needs FMR {needed:.2g}, and the strictest calibrated"
            f" is {strictest:g}: ask for fpir={fpir_at(strictest, comparisons):.2g} or more, search a smaller"
            " gallery, or give a `threshold`",
            supported=list(calibration.common),
        ) from error


def _strictness(rule: Rule) -> float:
    """A rule without a threshold is the strictest of all."""
    return 2.0 if rule.threshold is None else rule.threshold
