"""Scores a comparison by its cosine, less how much both sides resemble strangers in general.

A threshold that holds for people who are alike is too high for everybody else. So from each cosine is taken
how close the template of either side comes to those that resemble it most in a cohort of strangers:

    score = cosine - weight * (likeness(reference) + likeness(probe) - centre)

`likeness` of a reference: the mean of the `nearest` largest cosines with the cohort as probes of the probe's
condition; of a probe: the same with the cohort as references of the reference's condition. In speaker
verification this is known as adaptive symmetric score normalisation (S-norm) with a cohort (Karam, Campbell
and Dehak, "Towards reduced false-alarms using cohorts", ICASSP 2011; `compute_adaptive_snorm_stats` of
Vestman's ASVtorch is such code); here only the mean is taken off, and nothing is divided by the spread.
`centre` is what both come to on average over the cohort itself, so that scores of people who resemble
strangers as much as the cohort does stay what their cosines are, and a threshold can be read as one.

No vector of the cohort is a template of anybody, see `export.cohort`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.cohort_spec import CohortSpec
from faces.types import CONDITIONS, PAIRS, Condition, Pair, Role

Floats = NDArray[np.float32]

SIDES = (Role.REFERENCE, Role.PROBE)
# Stored in float16, a unit vector is about so far from length 1.
LENGTH_TOLERANCE = 2e-3
# A bound on a score must hold in float32 too.
SLACK = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """`members`: float32 [2, conditions, n, d], unit rows: as references and as probes (`SIDES`), in each of
    `CONDITIONS`; `centres`: by pair of conditions. Raises ValueError if one of these is not so."""

    members: Floats
    nearest: int
    weight: float
    centres: Mapping[Pair, float]

    def __post_init__(self) -> None:
        rows = self.members
        if rows.dtype != np.float32 or rows.ndim != 4 or rows.shape[:2] != (len(SIDES), len(CONDITIONS)):
            raise ValueError(
                f"a cohort is float32 [2, {len(CONDITIONS)}, n, d], got {rows.dtype} {rows.shape}"
            )
        if not 1 <= self.nearest <= rows.shape[2]:
            raise ValueError(f"the {self.nearest} nearest of {rows.shape[2]} in a cohort")
        # A NaN fails this comparison too.
        if not (np.abs(np.linalg.norm(rows, axis=3) - 1.0) <= 1e-5).all():
            raise ValueError("vectors of a cohort must be finite and of unit norm")
        if not 0 < self.weight <= 2 or set(self.centres) != set(PAIRS):
            raise ValueError("a cohort has a weight above 0 and a centre for every pair of conditions")
        rows.flags.writeable = False

    @property
    def dimension(self) -> int:
        return int(self.members.shape[3])

    def strangers(self, role: Role, condition: Condition) -> Floats:
        """The cohort on one side of a comparison: unit float32 [n, d]."""
        found: Floats = self.members[SIDES.index(role), CONDITIONS.index(condition)]
        return found

    def likeness(self, templates: Floats, role: Role, other: Condition) -> Floats:
        """How much templates [m, d] of a side resemble strangers whose condition is `other`: float32 [m]."""
        side = Role.PROBE if role is Role.REFERENCE else Role.REFERENCE
        cosines = templates @ self.strangers(side, other).T
        first = cosines.shape[1] - self.nearest
        found: Floats = np.partition(cosines, first, axis=1)[:, first:].mean(axis=1, dtype=np.float32)
        return found

    def taken(self, templates: Floats, role: Role, pair: Pair) -> Floats:
        """What is taken from every cosine of these templates [m, d], each side with half of the centre:
        float32 [m]."""
        other = pair.probe if role is Role.REFERENCE else pair.reference
        likeness = self.likeness(templates, role, other) - np.float32(self.centres[pair] / 2)
        found: Floats = np.float32(self.weight) * likeness
        return found

    def taken_by_other(self, template: Floats, role: Role, own: Condition) -> dict[Condition, float]:
        """What is taken from the cosines of one template [d], by the condition of the other side."""
        pairs = {c: Pair(own, c) if role is Role.REFERENCE else Pair(c, own) for c in CONDITIONS}
        return {c: float(self.taken(template[None], role, pair)[0]) for c, pair in pairs.items()}

    def scores(self, pair: Pair, references: Floats, probes: Floats) -> Floats:
        """Scores of unit templates [n, d] and [m, d]: float32 [m, n], each in [-1, 1]."""
        return scored(
            probes @ references.T,
            self.taken(probes, Role.PROBE, pair),
            self.taken(references, Role.REFERENCE, pair),
        )

    def queries(self, probes: Floats, condition: Condition) -> Queries:
        """What to search a gallery for, so that nothing is missed that could score high.

        The likeness of a reference r is at least its mean cosine with *any* `nearest` members. With those
        that are nearest to the probe p, whose mean is m, the score is at most r @ (p - weight * m) and a
        constant.
        """
        strangers = self.strangers(Role.PROBE, condition)
        nearest = np.argpartition(-(probes @ strangers.T), self.nearest - 1, axis=1)[:, : self.nearest]
        vectors = probes - np.float32(self.weight) * strangers[nearest].mean(axis=1)
        lengths = np.maximum(np.linalg.norm(vectors, axis=1), np.float32(1e-6))
        unit = (vectors / lengths[:, None]).astype(np.float32)
        taken = {
            reference: self.taken(probes, Role.PROBE, Pair(reference, condition))
            - np.float32(self.weight * self.centres[Pair(reference, condition)] / 2)
            for reference in CONDITIONS
        }
        return Queries(unit, lengths, taken)


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """`vectors`: unit float32 [m, d] to search for; `lengths`: float32 [m] by which their cosines grow, and
    `taken`: float32 [m] for each condition of references, what comes off them then."""

    vectors: Floats
    lengths: Floats
    taken: Mapping[Condition, Floats]

    def most(self, reference: Condition, cosines: Floats) -> float:
        """The highest score of a reference whose cosines with the queries are at most these [m]."""
        return float((self.lengths * cosines - self.taken[reference]).max()) + SLACK


def scored(cosines: Floats, probes: Floats, references: Floats) -> Floats:
    """Cosines [m, n] less what is taken from those of each probe [m] and of each reference [n]."""
    found: Floats = np.clip(cosines - probes[:, None] - references[None, :], -1.0, 1.0)
    return found


def scores_of(
    cohort: Cohort | None,
    references: Floats,
    conditions: Sequence[Condition],
    probes: Floats,
    probe: Condition,
) -> Floats:
    """Scores of references [n, d], in conditions [n], and probes [m, d] of one condition: float32 [m, n].

    By a cohort; without one, plain cosines.
    """
    if cohort is None:
        cosines: Floats = np.clip(probes @ references.T, -1.0, 1.0)
        return cosines
    found = np.zeros((len(probes), len(references)), np.float32)
    for reference in set(conditions):
        rows = [i for i, one in enumerate(conditions) if one == reference]
        found[:, rows] = cohort.scores(Pair(reference, probe), references[rows], probes)
    return found


def load_cohort(path: Path, spec: CohortSpec) -> Cohort:
    """Reads the vectors of a cohort. Raises ValueError if they are no cohort of `spec`, OSError."""
    stored = np.load(path, allow_pickle=False)
    if stored.dtype != np.float16:
        raise ValueError(f"a cohort is stored in float16, got {stored.dtype}")
    rows = stored.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not (np.abs(lengths - 1.0) <= LENGTH_TOLERANCE).all():
        raise ValueError("vectors of a cohort must be finite and of unit norm")
    return Cohort(rows / lengths, spec.nearest, spec.weight, spec.by_pair)
