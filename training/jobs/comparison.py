"""Is the new network better than the one in service? Paired on the same held-out probes, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faces.types import Condition, Spectrum
from training.data.prepared import PreparedSet
from training.evaluation.closed_set import closed_set
from training.evaluation.intervals import Interval
from training.evaluation.rank1 import SubjectCounts, paired_difference, success_rate
from training.networks.crop_encoder import CropEncoder

# What the service is for; the next ones decide where a set has no such probes.
HEADLINES = (
    str(Condition(Spectrum.NIR, masked=True)),
    str(Condition(Spectrum.NIR, masked=False)),
    str(Condition(Spectrum.VIS, masked=True)),
)


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """Closed-set rank-1 of one condition's probes, in percent; `difference`: new minus active, in points."""

    condition: str
    subjects: int
    probes: int
    new: Interval
    active: Interval
    difference: Interval


@dataclass(frozen=True, slots=True)
class Verdict:
    """`better`: clearly better where it counts, and clearly worse nowhere. `why` says it in a sentence."""

    better: bool
    why: str
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
    """On the validation split. The bootstrap draws subjects, the same for both (see `rank1`)."""
    if active.alignment != prepared.info.alignment:
        why = (
            f"it cannot be compared: the active bundle wants crops aligned to {active.alignment}, the set has"
            f" {prepared.info.alignment}"
        )
        return Verdict(False, why, ())
    ours = {found.condition: found.counts for found in closed_set(new, prepared, "validation")}
    theirs = {found.condition: found.counts for found in closed_set(active, prepared, "validation")}
    return verdict(ours, theirs, seed=seed)


def verdict(new: Mapping[str, SubjectCounts], active: Mapping[str, SubjectCounts], *, seed: int) -> Verdict:
    """From rank-1 hits by condition, of the same probes."""
    results = tuple(_result(name, new[name], active[name], seed) for name in sorted(new))
    by_name = {result.condition: result for result in results}
    headline = next((by_name[name] for name in HEADLINES if name in by_name), None)
    if headline is None:
        return Verdict(False, "the set has no NIR and no masked probes to decide by", results)
    worse = [result for result in results if result.difference.high < 0]
    told = _told(headline)
    if headline.difference.high < 0:
        return Verdict(False, f"{told}: worse with its whole interval", results)
    if headline.difference.low <= 0:
        return Verdict(False, f"{told}: the interval does not lie above 0", results)
    if worse:
        return Verdict(False, f"{told}, but worse elsewhere: {'; '.join(map(_told, worse))}", results)
    return Verdict(True, f"{told}, and worse in no condition", results)


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


def _told(result: ConditionResult) -> str:
    value, low, high = _rounded(result.difference)
    return (
        f"{result.condition}: rank-1 {result.new.value:.1f} % against the active bundle's"
        f" {result.active.value:.1f} %, difference {value:+.1f} [{low:+.1f}, {high:+.1f}] points of"
        f" {result.probes} probes"
    )
