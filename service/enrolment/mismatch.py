"""Refuses photos of different people under one subject: of one request, and beside enrolled ones.

The question is not who this is but whether it can be the same person at all, and its two errors weigh
differently: a stranger's template under a subject opens every door of that subject, while an honest
photo that is refused can be sent again with `allow_mismatch`. Still honest second photos are common, and
strangers under the wrong id are rare. So a pair of conditions is judged as strictly as costs few honest
photos: clear photos are, and masked ones, whose scores overlap, only loosely. docs/reliability.md has the
rates that were measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, starmap

import numpy as np
from numpy.typing import NDArray

from faces.calibration import Calibration, OperatingPoint
from faces.cohort import Cohort
from faces.types import Condition, Pair
from service.enrolment.duplicates import threshold_at
from service.enrolment.types import Accepted
from service.errors import PhotosDisagree, SubjectMismatch
from service.spaces.space import EmbeddingSpace
from service.store.unit import UnitOfWork

Floats = NDArray[np.float32]

ALLOW = "or, if they are right, send allow_mismatch=true"


# Fewer comparisons of one person do not show how many honest photos a threshold refuses.
LEAST_MATED = 100


@dataclass(frozen=True, slots=True)
class Agreement:
    """From when on two photos may be of one person: at the strictest calibrated FMR at which no more than
    `fnmr` of honest photos are refused, and in no case more loosely than at `fmr`."""

    fmr: float
    fnmr: float


def agreement_thresholds(
    calibration: Calibration, conditions: Iterable[Condition], rule: Agreement
) -> dict[Pair, float]:
    """The scores from which two photos may show one person, by the pairs of these conditions.

    Pairs of conditions that are not calibrated take no part; if none is, those with clear visible references
    stand for them. A group of people who are alike does not make them stricter: it would refuse honest
    photos.
    """
    known = list(conditions)
    pairs = [pair for pair in starmap(Pair, product(known, known)) if calibration.has(pair)]
    pairs = pairs or [Pair.with_clear_reference(each) for each in known]
    mated = {points.pair: points.mated for points in calibration.pairs}
    return {pair: _threshold(calibration.points(pair), mated[pair], rule) for pair in pairs}


def _threshold(points: Sequence[OperatingPoint], mated: int, rule: Agreement) -> float:
    loosest = threshold_at([(point.fmr, point.everybody) for point in points], rule.fmr)
    if mated < LEAST_MATED:
        return loosest
    cheap = [point.everybody for point in points if point.fnmr is not None and point.fnmr <= rule.fnmr]
    return max([loosest, *cheap])


def agreement(
    cohort: Cohort | None, thresholds: Mapping[Pair, float], references: Floats, probes: Floats
) -> Floats:
    """By how much templates [n, d] and [m, d] agree: the loosest pair of conditions counts. From 0 on two may
    be of one person. float32 [m, n]."""
    if cohort is None:
        least: Floats = probes @ references.T - np.float32(min(thresholds.values()))
        return least
    margins = [cohort.scores(pair, references, probes) - np.float32(t) for pair, t in thresholds.items()]
    most: Floats = np.max(margins, axis=0)
    return most


def groups(scores: NDArray[np.float32], limit: float) -> list[list[int]]:
    """Groups the rows of a symmetric score matrix [n, n] that are linked by scores of at least `limit`.

    The largest group comes first; photos of one person make one group, though two of them may differ.
    """
    left, found = set(range(len(scores))), []
    while left:
        group, added = set[int](), {min(left)}
        while added:
            group |= added
            left -= added
            added = {j for i in added for j in left if scores[i, j] >= limit}
        found.append(sorted(group))
    return sorted(found, key=len, reverse=True)


class MismatchCheck:
    """The check of one enrolment in one space, within its transaction."""

    def __init__(
        self, space: EmbeddingSpace, subject_id: str, accepted: Sequence[Accepted], rule: Agreement
    ) -> None:
        self._space, self._subject_id, self._accepted, self._rule = space, subject_id, accepted, rule

    async def check(self, uow: UnitOfWork) -> None:
        """Compares the photos with each other and with the subject's templates.

        Call it once the transaction holds the subject's lock, so that no other photo is added meanwhile.
        Raises SubjectMismatch, PhotosDisagree, StoreError.
        """
        own = await uow.templates.vectors_of(self._space.space_id, self._subject_id)
        conditions = {
            condition for one in self._accepted for condition in one.description.possible_conditions
        }
        for sample in await uow.samples.of_subject(self._subject_id):
            conditions.add(Condition(sample.spectrum, sample.masked))
        thresholds = agreement_thresholds(self._space.calibration, conditions, self._rule)
        cohort = self._space.cohort
        vectors = np.stack([one.description.embedding.vector for one in self._accepted])
        margins = agreement(cohort, thresholds, vectors, vectors)
        # Neither of two photos is the reference of the other.
        found = groups(np.maximum(margins, margins.T), 0.0)
        if len(own):
            known = agreement(cohort, thresholds, own, vectors)
            strangers = [group for group in found if np.max(known[group]) < 0]
            if strangers:
                raise SubjectMismatch(
                    f"the face is another than that of subject {self._subject_id}: check the subject_id,"
                    f" {ALLOW}",
                    index=self._accepted[strangers[0][0]].index,
                )
        elif len(found) > 1:
            raise PhotosDisagree(
                f"the images show different people: send those of one person at a time, {ALLOW}",
                index=self._accepted[found[-1][0]].index,
                groups=[[self._accepted[i].index for i in group] for group in found],
            )
