"""Draws the vectors of a cohort: like templates of each group of people, and nobody's template.

For each group, side and condition, a draw is the mean of the templates of its people and a sum of all their
differences from it, each weighted by chance, so that mean and covariance are those of the people (a draw from
the normal distribution that fits them); then it is made a unit vector. Each side and condition has weights of
its own: no two draws belong together.

A draw lies in the span of the templates that it was made from. Whoever has a photo of somebody can therefore
test whether he was among these people, but no template or face of anybody can be read from a draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from export.kept_templates import SetTemplates
from faces.cohort import SIDES, Cohort
from faces.cohort_spec import Centre
from faces.types import CONDITIONS, PAIRS, Condition, Role
from training.data.prepared import PreparedSet
from training.data.records import DataSetError

Floats = NDArray[np.float32]
# Vectors of each group.
DRAWS = 100
DIGITS = 6


def rows_of(prepared: PreparedSet, people: Sequence[str]) -> dict[Condition, list[int]]:
    """One row of each person in each condition, for those who have all of them."""
    found: dict[str, dict[Condition, int]] = {name: {} for name in people}
    for i, row in enumerate(prepared.rows):
        if row.split == "validation" and row.subject in found:
            found[row.subject].setdefault(row.condition, i)
    whole = [rows for rows in found.values() if len(rows) == len(CONDITIONS)]
    return {condition: [rows[condition] for rows in whole] for condition in CONDITIONS}


def wanted_rows(groups: Mapping[str, dict[Condition, list[int]]]) -> list[tuple[int, Role]]:
    """Every row that is drawn from, for both sides."""
    rows = {i for by_condition in groups.values() for chosen in by_condition.values() for i in chosen}
    return [(i, role) for i in sorted(rows) for role in SIDES]


def drawn(
    groups: Mapping[str, dict[Condition, list[int]]], templates: SetTemplates, *, draws: int, seed: int
) -> NDArray[np.float16]:
    """Vectors float16 [2, conditions, groups x draws, d], as `faces.cohort` stores them.

    Raises DataSetError if a group has fewer than two people in all conditions.
    """
    rng = np.random.default_rng(seed)
    for name, rows in groups.items():
        if len(rows[CONDITIONS[0]]) < 2:
            raise DataSetError(
                f"{name}: fewer than two people in every condition, so there is nothing to draw"
            )
    sides = [
        [
            np.concatenate(
                [_draw(templates.templates(rows[c], role), draws, rng) for rows in groups.values()]
            )
            for c in CONDITIONS
        ]
        for role in SIDES
    ]
    return np.array(sides, np.float16)


def _draw(templates: Floats, draws: int, rng: np.random.Generator) -> Floats:
    mean = templates.mean(axis=0)
    weights = rng.standard_normal((draws, len(templates))) / np.sqrt(len(templates) - 1)
    vectors = mean + weights @ (templates - mean)
    unit: Floats = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def centred(cohort: Cohort) -> tuple[Centre, ...]:
    """For every pair of conditions, the mean of both sides' likeness over the cohort itself."""
    found = []
    for pair in PAIRS:
        references = cohort.strangers(Role.REFERENCE, pair.reference)
        probes = cohort.strangers(Role.PROBE, pair.probe)
        both = (
            cohort.likeness(references, Role.REFERENCE, pair.probe).mean()
            + cohort.likeness(probes, Role.PROBE, pair.reference).mean()
        )
        found.append(Centre(reference=pair.reference, probe=pair.probe, likeness=round(float(both), DIGITS)))
    return tuple(found)
