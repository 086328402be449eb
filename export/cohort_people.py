"""Says which people of a prepared set a cohort is drawn from. They set no threshold."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass

from faces.bundle import Bundle, open_cohort
from faces.cohort import Cohort
from faces.cohort_spec import CohortSpec
from training.data.prepared import PreparedSet, Row

# Of each group: more would leave too few people of the smallest group to set a threshold.
PEOPLE = 100
# Whoever carries no label makes a group too, so that a cohort is not of the labelled alone.
UNLABELLED = "unlabelled"


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """A cohort and what a manifest says of it."""

    spec: CohortSpec
    cohort: Cohort


def scale_of(bundle: Bundle) -> Scale | None:
    """What the thresholds of a bundle are for; None for plain cosines. Raises BundleError."""
    cohort = open_cohort(bundle)
    if cohort is None:
        return None
    calibration = bundle.manifest.calibration
    assert calibration is not None  # noqa: S101 - it has the cohort
    assert calibration.cohort is not None  # noqa: S101
    return Scale(calibration.cohort, cohort)


def cohort_people(prepared: PreparedSet, most: int = PEOPLE) -> dict[str, list[str]]:
    """Up to `most` subjects of each group of the validation split, chosen by the SHA-256 of their names."""
    groups: dict[str, set[str]] = defaultdict(set)
    for row in prepared.rows:
        if row.split == "validation":
            groups[_group(row)].add(row.subject)
    return {name: sorted(people, key=_order)[:most] for name, people in sorted(groups.items())}


def left_out(prepared: PreparedSet, spec: CohortSpec | None) -> frozenset[str]:
    """The subjects of a set that its cohort was drawn from; nobody of any other set."""
    if spec is None or spec.drawn_from != prepared.info.name:
        return frozenset()
    return frozenset(one for people in cohort_people(prepared, spec.people).values() for one in people)


def _group(row: Row) -> str:
    return row.group or UNLABELLED


def _order(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()
