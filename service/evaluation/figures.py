"""The figures of an evaluation: frozen facts that the report, the JSON and the command line show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel

from faces.calibration import Method, PairPoints
from faces.rates.intervals import Interval
from faces.types import Condition, Pair, Role
from service.evaluation.points import Coverage

# Whose the references are: the set's own, or the enrolled gallery's.
Against = Literal["set", "gallery"]
Source = Literal["suggested", "in_force"]


@dataclass(frozen=True, slots=True)
class PointFigures:
    """What a threshold does with these comparisons. `fmr`: what it is for; `false_matches`: how many
    non-mated comparisons it accepts; `fmr_upper`: the 95 % bound of their rate. `fnmr`: None without mates.
    """

    fmr: float
    threshold: float
    false_matches: int
    fmr_upper: float
    fnmr: Interval | None
    method: Method


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of scores in bins of equal width. `edges` has one more than the others."""

    edges: tuple[float, ...]
    mated: tuple[int, ...]
    non_mated: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DetPoint:
    fmr: float
    fnmr: float


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Comparisons 1:1 of one pair of conditions, of one camera's probes or (`camera` None) of all.

    `failed`: mated comparisons that a probe without a template prevented. `in_force`: the thresholds that the
    service decides by now, on these comparisons. `points`: what an installation takes.
    """

    camera: str | None
    pair: Pair
    coverage: Coverage
    mated: int
    failed: int
    suggested: tuple[PointFigures, ...]
    in_force: tuple[PointFigures, ...]
    det: tuple[DetPoint, ...]
    histogram: Histogram
    points: PairPoints | None


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """Identification at one FMR's thresholds.

    `fpir`: a search without a mate among the references finds somebody; `fpir_at_gallery`: the same for the
    service's gallery; `fnir`: a search with a mate does not find it in the first place, None without any.
    """

    source: Source
    fmr: float
    fpir: Interval
    fpir_at_gallery: Interval | None
    fnir: Interval | None


@dataclass(frozen=True, slots=True)
class Identification:
    """Searches 1:N among all references of probes in one condition. `cmc`: share found at rank 1, 2, ...

    A search without a mate leaves out the references of the probe's own subject.
    """

    camera: str | None
    condition: Condition
    searches: int
    failed: int
    subjects: int
    references: int
    enrolled: int
    rank1: Interval | None
    cmc: tuple[float, ...]
    at: tuple[SearchFigures, ...]


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How many photos gave no template. `broken`: files that nothing can be read from; they are no attempts.

    `subjects_lost`: subjects none of whose photos gave a template.
    """

    role: Role
    camera: str | None
    attempts: int
    failed: int
    rate: Interval | None
    broken: int
    subjects: int
    subjects_lost: int


@dataclass(frozen=True, slots=True)
class LostPhoto:
    """A photo without a template."""

    name: str
    subject: str
    role: Role
    camera: str | None
    code: str
    detail: str
    broken: bool


@dataclass(frozen=True, slots=True)
class Mistake:
    """A comparison that went, or nearly went, wrong. `wrong`: what the service decides by the thresholds in
    force, at its default FMR, is false."""

    kind: Literal["false_match", "missed"]
    camera: str | None
    pair: Pair
    probe: str
    probe_subject: str
    reference: str
    reference_subject: str
    score: float
    threshold: float | None
    wrong: bool


@dataclass(frozen=True, slots=True)
class OtherwiseSeen:
    """A photo that the service saw in another condition than its label says."""

    name: str
    labelled: str
    seen: str


@dataclass(frozen=True, slots=True)
class SiteEvaluation:
    """Everything that was measured. `gallery_templates`: the service's own gallery, None if unknown.
    `cohort`: the id of what scores are relative to, None for cosines."""

    space_id: str
    bundle: str
    gallery_templates: int | None
    default_fmr: float | None
    subjects: int
    references: int
    probes: int
    acquisition: tuple[Acquisition, ...]
    lost: tuple[LostPhoto, ...]
    otherwise_seen: tuple[OtherwiseSeen, ...]
    pairs: tuple[PairFigures, ...]
    identification: tuple[Identification, ...]
    mistakes: tuple[Mistake, ...]
    against: Against = "set"
    cohort: str | None = None


def as_json(value: object) -> Any:
    """Converts figures to JSON: conditions, pairs and enumerations become text."""
    if isinstance(value, (Condition, Pair)):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): as_json(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_json(one) for one in value]
    return value
