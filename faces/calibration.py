"""Defines a bundle's calibrated operating points: thresholds by condition and false match rate."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from faces.strict import Strict
from faces.types import CONDITIONS, Condition, Spectrum

FMR_RELATIVE_TOLERANCE = 1e-6


class UnsupportedFmr(LookupError):
    """No threshold is calibrated for this false match rate. `supported` lists those that are."""

    def __init__(self, fmr: float, supported: tuple[float, ...]) -> None:
        self.fmr, self.supported = fmr, supported
        points = ", ".join(f"{point:g}" for point in supported) or "none"
        super().__init__(f"no threshold is calibrated for FMR {fmr:g}; calibrated: {points}")


class OperatingPoint(Strict):
    """`threshold`: the smallest score with observed FMR <= `fmr`; `fmr_upper`: its 95 % upper bound."""

    fmr: Annotated[float, Field(gt=0, lt=1)]
    threshold: Annotated[float, Field(ge=-1, le=1)]
    fmr_upper: Annotated[float, Field(gt=0, le=1)]
    fnmr: Annotated[float, Field(ge=0, le=1)]


class ConditionPoints(Strict):
    """Operating points of probes in one condition against unmasked VIS references."""

    spectrum: Spectrum
    masked: bool
    subjects: Annotated[int, Field(gt=1)]
    mated: Annotated[int, Field(gt=0)]
    non_mated: Annotated[int, Field(gt=0)]
    points: tuple[OperatingPoint, ...]

    @property
    def condition(self) -> Condition:
        return Condition(self.spectrum, self.masked)

    @model_validator(mode="after")
    def _ordered(self) -> ConditionPoints:
        rates = [point.fmr for point in self.points]
        scores = [point.threshold for point in self.points]
        if rates != sorted(set(rates), reverse=True) or scores != sorted(scores):
            raise ValueError("operating points go from loose to strict")
        return self


class Calibration(Strict):
    """Thresholds for every condition, and the score above which two subjects count as duplicates.

    `worst` is for probes of unknown condition: at each FMR that all conditions support, the strictest of
    their thresholds, with the largest `fmr_upper` and FNMR of any condition at it.
    """

    data: str
    synthetic: str
    command: str
    date: str
    default_fmr: Annotated[float, Field(gt=0, lt=1)]
    duplicate_fmr: Annotated[float, Field(gt=0, lt=1)]
    conditions: tuple[ConditionPoints, ...]
    worst: tuple[OperatingPoint, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Calibration:
        have = [points.condition for points in self.conditions]
        want = set(CONDITIONS)
        if len(have) != len(want) or set(have) != want:
            raise ValueError("a calibration has every condition once")
        for condition in want:
            for fmr in (self.default_fmr, self.duplicate_fmr):
                try:
                    self.at(condition, fmr)
                except UnsupportedFmr as error:
                    raise ValueError(str(error)) from error
        for point in self.worst:
            if any(self.at(condition, point.fmr).threshold > point.threshold for condition in want):
                raise ValueError("the worst case is at least as strict as every condition")
        return self

    def supported(self, condition: Condition) -> tuple[float, ...]:
        return tuple(point.fmr for point in self._points(condition))

    def at(self, condition: Condition, fmr: float) -> OperatingPoint:
        """Returns the operating point of a condition at an FMR. Raises UnsupportedFmr if it has none."""
        for point in self._points(condition):
            if math.isclose(point.fmr, fmr, rel_tol=FMR_RELATIVE_TOLERANCE):
                return point
        raise UnsupportedFmr(fmr, self.supported(condition))

    def _points(self, condition: Condition) -> tuple[OperatingPoint, ...]:
        return next(c.points for c in self.conditions if c.condition == condition)
