"""Finds a face that another subject already has: before the transaction, and once more within it.

The search of the whole gallery is too slow for a transaction that others wait for. So it runs first,
and the transaction compares only with what was committed since.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from faces.calibration import Calibration
from faces.cohort import Cohort, scores_of
from faces.types import CONDITIONS, Condition, Pair
from service.enrolment.types import Accepted, FoundDuplicate
from service.errors import DuplicateFace
from service.gallery.base import Hit
from service.inference.engine import Description
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.records import Owner
from service.store.unit import UnitOfWork

HITS, GROWTH = 20, 4
SCORE_DIGITS = 6
# By a cohort the score of a photo with itself is not 1, and thresholds for many templates come close to that.
# The closest two of 7,919 photos, before those of people who are there twice were left out, have .967.
SAME_PHOTO = 0.97
TAIL_ROWS = 4096


def duplicate_threshold(
    calibration: Calibration, pair: Pair, templates: int, false_positive_rate: float
) -> float:
    """The score at which one of `templates` strangers is taken for the subject with this probability.

    A gallery of n templates compares n times, so each comparison has the n-th part of the rate
    (Bonferroni). It is never looser than the calibration's own duplicate point. Raises UncalibratedPair.
    """
    wanted = min(calibration.duplicate_fmr, false_positive_rate / max(1, templates))
    return threshold_at([(point.fmr, point.threshold) for point in calibration.points(pair)], wanted)


def threshold_at(known: Sequence[tuple[float, float]], fmr: float) -> float:
    """The threshold at any FMR, from the FMRs and thresholds that are calibrated, loosest first.

    Between calibrated points, and beyond the first and the last one, the threshold grows linearly with
    the logarithm of the FMR; beyond, that is an extrapolation. A single point is used as it is.
    """
    points = [(math.log10(rate), threshold) for rate, threshold in known]
    at = math.log10(fmr)
    if len(points) == 1:
        return points[0][1]
    looser, stricter = next(((a, b) for a, b in pairwise(points) if b[0] <= at), (points[-2], points[-1]))
    slope = (stricter[1] - looser[1]) / (stricter[0] - looser[0])
    return min(1.0, stricter[1] + slope * (at - stricter[0]))


class DuplicateCheck:
    """The check of one enrolment in one space.

    `accepted`: by their place among the images of the request. `refuse`: raise DuplicateFace for the first
    face that another subject has; otherwise `found` tells.
    """

    def __init__(
        self,
        db: Database,
        space: EmbeddingSpace,
        subject_id: str,
        accepted: Mapping[int, Accepted],
        *,
        false_positive_rate: float,
        refuse: bool,
    ) -> None:
        self._db, self._space, self._subject_id = db, space, subject_id
        self._indices, self._accepted = tuple(accepted), tuple(accepted.values())
        self._rate, self._refuse, self._searched_to = false_positive_rate, refuse, 0
        # By image and subject, the best match.
        self._found: dict[tuple[int, str], FoundDuplicate] = {}

    @property
    def found(self) -> tuple[FoundDuplicate, ...]:
        """What another subject has, best first for each image."""
        return tuple(sorted(self._found.values(), key=lambda one: (one.index, -one.score, one.template_id)))

    async def search(self) -> None:
        """Compares with every template that is committed. Raises DuplicateFace, StoreError."""
        await self._space.catch_up(self._db)
        self._searched_to = self._space.applied_seq
        found = await asyncio.to_thread(self._nearest)
        async with self._db.read() as uow:
            await self._judge(uow, found)

    def _nearest(self) -> list[list[Hit]]:
        """For each accepted face, the templates among which a duplicate would be."""
        cohort = self._space.cohort
        if cohort is None:
            queries = np.stack([one.description.embedding.vector for one in self._accepted])
            return self._space.gallery.search(queries, HITS)
        return [self._nearest_by(cohort, one.description) for one in self._accepted]

    def _nearest_by(self, cohort: Cohort, seen: Description) -> list[Hit]:
        queries, wanted = cohort.queries(seen.embedding.vector[None], seen.condition), HITS
        while True:
            (hits,) = self._space.gallery.search(queries.vectors, wanted)
            if len(hits) < wanted:
                return hits
            last = np.array([hits[-1].score], np.float32)
            # A lower cosine may be the higher score.
            if not any(self._is_duplicate(c, seen.condition, queries.most(c, last)) for c in CONDITIONS):
                return hits
            wanted *= GROWTH

    async def recheck(self, uow: UnitOfWork) -> None:
        """Compares with what was committed since the search, while no other enrolment can commit.

        Raises DuplicateFace, StoreError.
        """
        await uow.spaces.lock_enrolments()
        entries = await uow.log.tail(self._space.space_id, self._searched_to, TAIL_ROWS)
        added = [(entry.template_id, entry.vector) for entry in entries if entry.vector is not None]
        if added:
            found = [
                [
                    Hit(template_id, float(vector @ one.description.embedding.vector))
                    for template_id, vector in added
                ]
                for one in self._accepted
            ]
            await self._judge(uow, found)

    async def _judge(self, uow: UnitOfWork, found: Sequence[Sequence[Hit]]) -> None:
        ids = sorted({hit.template_id for hits in found for hit in hits})
        owners, vectors = await self._enrolled(uow, ids)
        own = await uow.templates.of_subject(self._space.space_id, self._subject_id)
        for index, one, hits in zip(self._indices, self._accepted, found, strict=True):
            vector, condition = one.description.embedding.vector, one.description.condition
            known = [hit for hit in hits if hit.template_id in owners]
            scores, same = [hit.score for hit in known], [False] * len(known)
            if vectors:
                rows = [(owners[hit.template_id], vectors[hit.template_id]) for hit in known]
                scores = self._scores(rows, vector, condition)
                same = [float(enrolled @ vector) >= SAME_PHOTO for _, enrolled in rows]
            # Whoever looks more like the own subject than like any other is no duplicate of the other.
            own_scores = self._scores([(each.owner, each.vector) for each in own], vector, condition)
            least = max(own_scores, default=-1.0)
            for hit, score, one_photo in zip(known, scores, same, strict=True):
                owner = owners[hit.template_id]
                if owner.subject_id == self._subject_id or score < least:
                    continue
                if not one_photo and not self._is_duplicate(owner.condition, condition, score):
                    continue
                if self._refuse:
                    raise DuplicateFace(
                        f"the face matches subject {owner.subject_id}; enrol it there, or, if they are two"
                        " people, send duplicates=ignore",
                        subject_id=owner.subject_id,
                    )
                best = self._found.get((index, owner.subject_id))
                if best is None or score > best.score:
                    match = FoundDuplicate(index, hit.template_id, round(score, SCORE_DIGITS))
                    self._found[index, owner.subject_id] = match

    async def _enrolled(
        self, uow: UnitOfWork, ids: Sequence[int]
    ) -> tuple[Mapping[int, Owner], Mapping[int, NDArray[np.float32]]]:
        """The owners of templates, and their vectors if a score takes more than the cosine of the hit."""
        if self._space.cohort is None:
            return await uow.templates.owners(ids), {}
        owned = await uow.templates.owned(self._space.space_id, ids)
        return {i: one.owner for i, one in owned.items()}, {i: one.vector for i, one in owned.items()}

    def _scores(
        self,
        enrolled: Sequence[tuple[Owner, NDArray[np.float32]]],
        vector: NDArray[np.float32],
        condition: Condition,
    ) -> list[float]:
        if not enrolled:
            return []
        conditions, vectors = [owner.condition for owner, _ in enrolled], np.stack([v for _, v in enrolled])
        found: list[float] = scores_of(self._space.cohort, vectors, conditions, vector[None], condition)[
            0
        ].tolist()
        return found

    def _is_duplicate(self, enrolled: Condition, condition: Condition, score: float) -> bool:
        """Whether a face of this condition duplicates an enrolled one. A pair of conditions without
        calibration makes nobody a duplicate: the answer to the enrolment warns of that."""
        calibration, pair = self._space.calibration, Pair(enrolled, condition)
        if not calibration.has(pair):
            return False
        return score >= duplicate_threshold(calibration, pair, self._space.gallery.size, self._rate)
