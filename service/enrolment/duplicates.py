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

from faces.calibration import Calibration
from faces.types import Condition, Pair
from service.enrolment.types import Accepted, FoundDuplicate
from service.errors import DuplicateFace
from service.gallery.base import Hit
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from service.store.unit import UnitOfWork

HITS = 20
SCORE_DIGITS = 6
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
        queries = np.stack([one.description.embedding.vector for one in self._accepted])
        found = await asyncio.to_thread(self._space.gallery.search, queries, HITS)
        async with self._db.read() as uow:
            await self._judge(uow, found)

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
        owners = await uow.templates.owners(sorted({hit.template_id for hits in found for hit in hits}))
        own = await uow.templates.vectors_of(self._space.space_id, self._subject_id)
        for index, one, hits in zip(self._indices, self._accepted, found, strict=True):
            vector, condition = one.description.embedding.vector, one.description.condition
            # Whoever looks more like the own subject than like any other is no duplicate of the other.
            least = float(np.max(own @ vector)) if len(own) else -1.0
            for hit in hits:
                owner = owners.get(hit.template_id)
                if owner is None or owner.subject_id == self._subject_id or hit.score < least:
                    continue
                if not self._is_duplicate(owner.condition, condition, hit.score):
                    continue
                if self._refuse:
                    raise DuplicateFace(
                        f"the face matches subject {owner.subject_id}; enrol it there, or, if they are two"
                        " people, send duplicates=ignore",
                        subject_id=owner.subject_id,
                    )
                known = self._found.get((index, owner.subject_id))
                if known is None or hit.score > known.score:
                    match = FoundDuplicate(index, hit.template_id, round(hit.score, SCORE_DIGITS))
                    self._found[index, owner.subject_id] = match

    def _is_duplicate(self, enrolled: Condition, condition: Condition, score: float) -> bool:
        """Whether a face of this condition duplicates an enrolled one. A pair of conditions without
        calibration makes nobody a duplicate: the answer to the enrolment warns of that."""
        calibration, pair = self._space.calibration, Pair(enrolled, condition)
        if not calibration.has(pair):
            return False
        return score >= duplicate_threshold(calibration, pair, self._space.gallery.size, self._rate)
