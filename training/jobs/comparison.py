"""Compares the new network with the active one on the same held-out probes, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faces.rates.intervals import Interval
from faces.rates.rank1 import SubjectCounts, paired_difference, success_rate
from faces.types import Condition, Spectrum
from training.data.prepared import PreparedSet
from training.evaluation.closed_set import closed_set
from training.networks.crop_encoder import CropEncoder

# The first condition that the set has probes of decides.
DECIDING = (
    str(Condition(Spectrum.NIR, masked=True)),
    str(Condition(Spectrum.NIR, masked=False)),
    str(Condition(Spectrum.VIS, masked=True)),
)


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """Closed-set rank-1 of one condition's probes, in percent. `difference`: new minus active, in points."""

    condition: str
    subjects: int
    probes: int
    new: Interval
    active: Interval
    difference: Interval


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the new network is better: in the deciding condition, and significantly worse in none."""

    better: bool
    reason: str
    results: tuple[ConditionResult, ...]

    def as_metrics(self) -> dict[str, Any]:
        return {
            "better": self.better,
            "rank1": {
                result.condition: {
                    "subjects": result.subjects,
                    "probes": result.probes,
                    "new": _rounded(result.new),
                    "active": _rounded(result.active),
                    "difference_points": _rounded(result.difference),
                }
                for result in self.results
            },
        }


def compare(new: CropEncoder, active: CropEncoder, prepared: PreparedSet, *, seed: int) -> Verdict:
    """Compares on the validation split; the bootstrap draws the same subjects for both networks."""
    if active.alignment != prepared.info.alignment:
        reason = (
            f"it cannot be compared: the active bundle wants crops aligned to {active.alignment}, the set has"
            f" {prepared.info.alignment}"
        )
        return Verdict(False, reason, ())
    new_counts = {found.condition: found.counts for found in closed_set(new, prepared, "validation")}
    active_counts = {found.condition: found.counts for found in closed_set(active, prepared, "validation")}
    return verdict(new_counts, active_counts, seed=seed)


def verdict(new: Mapping[str, SubjectCounts], active: Mapping[str, SubjectCounts], *, seed: int) -> Verdict:
    """Decides by the rank-1 counts of both networks on the same probes, by condition."""
    results = tuple(_result(name, new[name], active[name], seed) for name in sorted(new))
    by_name = {result.condition: result for result in results}
    deciding = next((by_name[name] for name in DECIDING if name in by_name), None)
    if deciding is None:
        return Verdict(False, "the set has no NIR and no masked probes to decide by", results)
    worse = [result for result in results if result.difference.high < 0]
    summary = _summary(deciding)
    if deciding.difference.high < 0:
        return Verdict(False, f"{summary}: worse with its whole interval", results)
    if deciding.difference.low <= 0:
        return Verdict(False, f"{summary}: the interval does not lie above 0", results)
    if worse:
        return Verdict(False, f"{summary}, but worse elsewhere: {'; '.join(map(_summary, worse))}", results)
    return Verdict(True, f"{summary}, and worse in no condition", results)


def _result(name: str, new: SubjectCounts, active: SubjectCounts, seed: int) -> ConditionResult:
    return ConditionResult(
        name,
        len(new.subjects),
        int(new.probes.sum()),
        success_rate(new, seed=seed).in_percent(),
        success_rate(active, seed=seed).in_percent(),
        paired_difference(new, active, seed=seed),
    )


def _rounded(interval: Interval) -> Sequence[float]:
    return [round(value, 2) for value in (interval.value, interval.low, interval.high)]


def _summary(result: ConditionResult) -> str:
    value, low, high = _rounded(result.difference)
    return (
        f"{result.condition}: rank-1 {result.new.value:.1f} % against the active bundle's"
        f" {result.active.value:.1f} %, difference {value:+.1f} [{low:+.1f}, {high:+.1f}] points of"
        f" {result.probes} probes"
    )
