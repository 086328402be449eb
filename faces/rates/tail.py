"""Keeps the highest impostor scores of millions of comparisons, exactly, in memory that does not grow.

A threshold at FMR f depends on the f highest share of the scores alone, so the rest is only counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.cohort import scored
from faces.rates.scores import Comparison

Floats = NDArray[np.float32]
Ids = NDArray[np.intp]

ROWS_AT_ONCE = 256
# Below every cosine: the comparison of a probe with its own person.
OWN = -2.0


@dataclass(frozen=True, slots=True, eq=False)
class Impostors:
    """Templates whose comparisons are impostors': `probes` float32 [m, d], `references` float32 [n, d], one
    reference a person; `own` [m]: the person of each probe; `groups` [n]: the group of each person, if known.

    `taken`: what comes off the cosines of each probe [m] and of each reference [n], if a cohort says so
    (`faces.cohort`).
    """

    probes: Floats
    references: Floats
    own: Ids
    groups: tuple[str | None, ...]
    taken: tuple[Floats, Floats] | None = None

    @property
    def people(self) -> int:
        """How many people have a probe."""
        return len(np.unique(self.own))

    @property
    def comparisons(self) -> int:
        """How many comparisons of different people there are."""
        return len(self.own) * (len(self.references) - 1)

    def within(self, group: str) -> Impostors:
        """The comparisons of one group's people with one another."""
        return self.among(np.array([i for i, one in enumerate(self.groups) if one == group], np.intp))

    def among(self, columns: Ids) -> Impostors:
        """The comparisons of these people, by their columns, with one another."""
        place = np.full(len(self.groups), -1, np.intp)
        place[columns] = np.arange(len(columns))
        rows = np.flatnonzero(place[self.own] >= 0)
        own = place[self.own[rows]]
        groups = tuple(self.groups[i] for i in columns)
        taken = None if self.taken is None else (self.taken[0][rows], self.taken[1][columns])
        return Impostors(self.probes[rows], self.references[columns], own, groups, taken)

    def score_blocks(self) -> Iterator[tuple[int, Floats]]:
        """First probe and scores float32 [rows, n] of each block; those of the own person are `OWN`."""
        for start in range(0, len(self.probes), ROWS_AT_ONCE):
            own = self.own[start : start + ROWS_AT_ONCE]
            scores = self.probes[start : start + ROWS_AT_ONCE] @ self.references.T
            if self.taken is not None:
                of_probes, of_references = self.taken
                scores = scored(scores, of_probes[start : start + ROWS_AT_ONCE], of_references)
            scores[np.arange(len(own)), own] = OWN
            yield start, scores


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """The highest of `total` impostor scores: `scores` float32 [k], falling; `probe` and `reference` [k]: the
    people that were compared, of `people` in all.

    `probes` and `references` [people]: how many templates of each person were compared with those of all
    others; None if everybody has as many.
    """

    scores: Floats
    probe: Ids
    reference: Ids
    total: int
    people: int
    probes: Ids | None = None
    references: Ids | None = None

    def allowed(self, fmr: float) -> int:
        """How many false matches an FMR allows."""
        return math.floor(fmr * self.total + 1e-9)

    def accepted(self, threshold: float) -> int:
        """How many scores are at least the threshold. Raises ValueError if the tail may not hold them all."""
        # In float32 the threshold would be rounded, and the score just below it accepted.
        count = int(np.searchsorted(-self.scores.astype(np.float64), -threshold, side="right"))
        if count == len(self.scores) < self.total:
            raise ValueError("the threshold lies below the tail that was kept")
        return count

    def threshold(self, fmr: float) -> float:
        """The smallest threshold whose observed FMR is at most `fmr`: just above the first score too many."""
        allowed = self.allowed(fmr)
        if allowed >= len(self.scores):
            raise ValueError("this FMR lies beyond the tail that was kept")
        return float(np.nextafter(np.float64(self.scores[allowed]), np.inf))


def tail_of(impostors: Impostors, *, loosest: float) -> Tail:
    """Compares every probe with every other person and keeps what an FMR of `loosest` needs and some more."""
    total = impostors.comparisons
    keep = min(total, math.floor(loosest * total) + 1024)
    scores, places, kept, lowest = [], [], 0, OWN
    columns = len(impostors.references)
    for start, block in impostors.score_blocks():
        flat = block.ravel()
        found = np.flatnonzero(flat > lowest)
        scores.append(flat[found])
        places.append(found.astype(np.int64) + start * columns)
        kept += len(found)
        if kept > 2 * keep:
            scores, places = _highest(scores, places, keep)
            kept, lowest = keep, float(scores[0].min())
    (highest,), (place,) = _highest(scores, places, keep)
    order = np.argsort(-highest, kind="stable")
    probe, reference = np.divmod(place[order], columns)
    return Tail(highest[order], impostors.own[probe], reference.astype(np.intp), total, columns)


def tail_of_comparison(comparison: Comparison) -> Tail:
    """Every impostor score of a comparison in which people may have any number of probes and references."""
    people = np.union1d(comparison.probes.subjects, comparison.gallery.subjects)
    probe = np.searchsorted(people, comparison.probes.subjects)
    reference = np.searchsorted(people, comparison.gallery.subjects)
    row, column = np.nonzero(~comparison.mated)
    scores = comparison.scores[row, column]
    order = np.argsort(-scores, kind="stable")
    return Tail(
        scores[order],
        probe[row[order]],
        reference[column[order]],
        len(scores),
        len(people),
        np.bincount(probe, minlength=len(people)),
        np.bincount(reference, minlength=len(people)),
    )


def _highest(
    scores: list[Floats], places: list[NDArray[np.int64]], keep: int
) -> tuple[list[Floats], list[NDArray[np.int64]]]:
    joined, where = np.concatenate(scores), np.concatenate(places)
    if len(joined) > keep:
        chosen = np.argpartition(-joined, keep - 1)[:keep]
        joined, where = joined[chosen], where[chosen]
    return [joined], [where]
