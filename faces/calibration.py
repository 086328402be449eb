"""Defines a bundle's calibrated operating points: thresholds by pair of conditions and false match rate."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from faces.cohort_spec import CohortSpec
from faces.strict import Strict
from faces.types import CONDITIONS, Condition, Pair

FMR_RELATIVE_TOLERANCE = 1e-6
Rate = Annotated[float, Field(ge=0, le=1)]
Fmr = Annotated[float, Field(gt=0, lt=1)]
Method = Literal["observed", "extrapolated"]
# Whose impostors set a threshold if no group's did.
EVERYBODY = "everybody"


class UnsupportedFmr(LookupError):
    """No threshold is calibrated for this false match rate. `supported` lists those that are."""

    def __init__(self, fmr: float, supported: tuple[float, ...]) -> None:
        self.fmr, self.supported = fmr, supported
        points = ", ".join(f"{point:g}" for point in supported) or "none"
        super().__init__(f"no threshold is calibrated for FMR {fmr:g}; calibrated: {points}")


class UncalibratedPair(LookupError):
    """No threshold at all is calibrated for this pair of conditions."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        super().__init__(f"no threshold is calibrated for {pair.probe} probes against {pair.reference}")


class GroupRate(Strict):
    """What a threshold does within one group of people: impostors of the group against one another.

    `pairs`: pairs of different people; `fmr`: observed at the point's threshold; `fmr_upper`: its 95 % upper
    bound; `own`: the threshold that the group by itself asks for, and `method` how it was found.
    """

    group: str
    people: Annotated[int, Field(gt=1)]
    pairs: Annotated[int, Field(gt=0)]
    fmr: Rate
    fmr_upper: Rate
    own: Annotated[float, Field(ge=-1, le=1)]
    method: Method


class OperatingPoint(Strict):
    """`threshold`: a score that keeps `fmr` over everybody and within each group of `groups`.

    `fmr_upper`: the one-sided 95 % upper bound of the FMR over everybody at the threshold, with people as
    clusters. `fnmr`: of mated comparisons, None where there are none. `method`: whether enough false matches
    of everybody were seen at this FMR, or the tail of the scores was extrapolated; each group says its own.
    `set_by`: whose threshold was the largest; `own`: the one that everybody alone asked for, None if it is
    the same.
    """

    fmr: Fmr
    threshold: Annotated[float, Field(ge=-1, le=1)]
    fmr_upper: Annotated[float, Field(gt=0, le=1)]
    fnmr: Rate | None = None
    method: Method = "observed"
    set_by: str = EVERYBODY
    own: Annotated[float, Field(ge=-1, le=1)] | None = None
    groups: tuple[GroupRate, ...] = ()

    @property
    def everybody(self) -> float:
        """The threshold that everybody alone asked for, without the groups."""
        return self.threshold if self.own is None else self.own


class PairPoints(Strict):
    """Operating points of one pair of conditions.

    `subjects`: people whose impostor scores were taken; `non_mated` and `mated`: numbers of comparisons.
    """

    reference: Condition
    probe: Condition
    subjects: Annotated[int, Field(gt=1)]
    mated: Annotated[int, Field(ge=0)]
    non_mated: Annotated[int, Field(gt=0)]
    points: tuple[OperatingPoint, ...]

    @property
    def pair(self) -> Pair:
        return Pair(self.reference, self.probe)

    @model_validator(mode="after")
    def _ordered(self) -> PairPoints:
        rates = [point.fmr for point in self.points]
        scores = [point.threshold for point in self.points]
        if rates != sorted(set(rates), reverse=True) or scores != sorted(scores):
            raise ValueError("operating points go from loose to strict")
        return self


class Calibration(Strict):
    """Thresholds by pair of conditions. A pair that is not listed has none, and borrows none.

    `default_fmr`: of answers that ask for no other. `duplicate_fmr`: where two subjects count as one, before
    it is corrected for the size of the gallery. Every listed pair has both points. `cohort`: what the
    scores are relative to (`faces.cohort`), None for cosines; it is part of the id.
    """

    data: str
    synthetic: str
    command: str
    date: str
    default_fmr: Fmr
    duplicate_fmr: Fmr
    pairs: tuple[PairPoints, ...]
    cohort: CohortSpec | None = None

    @model_validator(mode="after")
    def _complete(self) -> Calibration:
        have = [points.pair for points in self.pairs]
        if len(have) != len(set(have)):
            raise ValueError("a calibration has every pair of conditions once at most")
        if not {Pair.with_clear_reference(probe) for probe in CONDITIONS} <= set(have):
            raise ValueError("a calibration has every condition of probes against clear visible references")
        for pair in have:
            for fmr in (self.default_fmr, self.duplicate_fmr):
                try:
                    self.at(pair, fmr)
                except UnsupportedFmr as error:
                    raise ValueError(f"{pair}: {error}") from error
        return self

    @cached_property
    def _by_pair(self) -> Mapping[Pair, PairPoints]:
        return {points.pair: points for points in self.pairs}

    @cached_property
    def id(self) -> str:
        """The digest of the whole table: answers with one id were decided by the same thresholds."""
        text = json.dumps(written(self), sort_keys=True, separators=(",", ":"))
        return "cal-" + hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def cohort_id(self) -> str | None:
        """The id of what scores are relative to; None for cosines. Thresholds of two ids do not compare."""
        return None if self.cohort is None else self.cohort.id

    @cached_property
    def common(self) -> tuple[float, ...]:
        """The FMRs that every listed pair has, loosest first."""
        shared = set.intersection(*({point.fmr for point in points.points} for points in self.pairs))
        return tuple(sorted(shared, reverse=True))

    def has(self, pair: Pair) -> bool:
        return pair in self._by_pair

    def points(self, pair: Pair) -> tuple[OperatingPoint, ...]:
        """The operating points of a pair, loosest first. Raises UncalibratedPair."""
        found = self._by_pair.get(pair)
        if found is None:
            raise UncalibratedPair(pair)
        return found.points

    def supported(self, pair: Pair) -> tuple[float, ...]:
        """The FMRs of a pair, loosest first; none where it is not calibrated."""
        return tuple(point.fmr for point in self.points(pair)) if self.has(pair) else ()

    def at(self, pair: Pair, fmr: float) -> OperatingPoint:
        """Returns the point of a pair at an FMR. Raises UncalibratedPair, UnsupportedFmr."""
        for point in self.points(pair):
            if math.isclose(point.fmr, fmr, rel_tol=FMR_RELATIVE_TOLERANCE):
                return point
        raise UnsupportedFmr(fmr, self.supported(pair))

    def within(self, fmr: float) -> float:
        """Returns the loosest FMR that every pair has and that is at most `fmr`. Raises UnsupportedFmr."""
        for common in self.common:
            if common <= fmr * (1 + FMR_RELATIVE_TOLERANCE):
                return common
        raise UnsupportedFmr(fmr, self.common)


def written(calibration: Calibration) -> dict[str, Any]:
    """The table as a manifest has it. Without a cohort the key is left out: such tables keep their ids, and
    readers that know of no cohorts read them."""
    table = calibration.model_dump(mode="json")
    if calibration.cohort is None:
        del table["cohort"]
    return table


def fmr_for_fpir(fpir: float, comparisons: int) -> float:
    """The FMR at which a stranger passes a gallery with the probability `fpir`: 1 - (1 - fpir)^(1/n).

    Takes the n comparisons of a search as independent. Templates of one subject, or of people who resemble
    each other, are not; then fewer strangers pass than this says, but those who do look like several.
    """
    return -math.expm1(math.log1p(-fpir) / max(1, comparisons))


def fpir_at(fmr: float, comparisons: int) -> float:
    """The probability that a stranger passes a gallery of n templates: 1 - (1 - fmr)^n, as above."""
    return -math.expm1(comparisons * math.log1p(-fmr))
