"""The figures of a bundle, as the table has them."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.table.figures import Seen
from faces.rates.intervals import Interval

LEAST_SUBJECTS = 30


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its interval. `minus`: the difference to the first bundle, in percentage points."""

    rate: Interval
    minus: Interval | None = None
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Threshold:
    """The calibrated point of one condition, on held-out subjects.

    `observed`: FMR at the condition's own threshold; `served`: FMR at the threshold of the condition that the
    service took each probe for.
    """

    condition: str
    fmr: float
    threshold: float
    calibrated_on: int
    upper: float
    observed: Rate
    served: Rate
    tar: Rate

    @property
    def verdict(self) -> str:
        """Says whether the observed FMR lies within the interval that calibration stated, 0 to `upper`."""
        seen = self.observed.rate
        if not self.observed.exact:
            return "not settled by the hundred best"
        if seen.value > self.upper:
            return "no" if seen.low > self.upper else "no, but its interval reaches into it"
        return "yes, stricter than it says" if seen.high < self.fmr else "yes"


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """The figures of LFW test subjects in one condition."""

    condition: str
    probes: int
    rank1: Rate
    tar: Rate
    seen: Seen


@dataclass(frozen=True, slots=True)
class GroupRow:
    """The figures of one group in one condition.

    `tar`, `fmr`: at the condition's calibrated threshold, of comparisons within the group; `rank1`: among all
    that are enrolled.
    """

    group: str
    condition: str
    subjects: int
    probes: int
    rank1: Rate
    tar: Rate
    fmr: Rate

    @property
    def enough(self) -> bool:
        return self.subjects >= LEAST_SUBJECTS


@dataclass(frozen=True, slots=True)
class FurtherRow:
    """People with real masks, or rendered ones, in one condition among `references`."""

    people: str
    condition: str
    subjects: int
    references: int
    probes: int
    rank1: Rate
    tar: Rate


@dataclass(frozen=True, slots=True)
class MaskedPhotos:
    """Real photos of masked faces. `right`: seen as masked, of all; `right_of_found`: of those found."""

    photos: int
    found: Rate
    right: Rate
    right_of_found: Rate


@dataclass(frozen=True, slots=True)
class BundleMeasurement:
    """The figures of one bundle. `not_enrolled`: subjects whose reference was refused; their probes miss."""

    name: str
    version: str
    space_id: str
    dimension: int
    subjects: int
    not_enrolled: int
    conditions: tuple[ConditionRow, ...]
    thresholds: tuple[Threshold, ...]
    groups: tuple[GroupRow, ...] = ()
    photos: MaskedPhotos | None = None
    further: tuple[FurtherRow, ...] = ()
