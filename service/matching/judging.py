"""Judges the templates of references against one probe: which score counts, and which rule decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from faces.cohort import Cohort, Queries
from faces.types import CONDITIONS, Condition, Pair
from service.inference.engine import Description
from service.matching.rules import Rule, Rules

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The score of a comparison, the rule that decides about it, and the cosine that the score comes from."""

    score: float
    rule: Rule
    cosine: float

    @property
    def accepted(self) -> bool:
        return self.rule.accepts(self.score)

    @property
    def margin(self) -> float | None:
        return self.rule.margin(self.score)

    @property
    def order(self) -> tuple[bool, float]:
        """Accepted ones come first, by how far they pass; the others by score."""
        margin = self.margin
        return self.accepted, margin if self.accepted and margin is not None else self.score


class Judge:
    """Judges references against one probe, whose better template counts.

    By a cohort a comparison has a score for each pair of conditions that it may be of. The strictest decides:
    a pair without a threshold, or else the one whose threshold the score passes least.
    """

    def __init__(self, rules: Rules, cohort: Cohort | None, probe: Description) -> None:
        self._rules, self._cohort = rules, cohort
        self._vectors, self._possible = probe.vectors, probe.possible_conditions
        # For references of one condition, which enrolled ones are: looked up once for a whole search.
        self._by_reference = rules.by_reference(self._possible)

    def of_cosine(self, cosine: float, references: Sequence[Condition]) -> Judgement:
        """Judges a cosine. Only for a space without a cohort, where the cosine is the score."""
        assert self._cohort is None  # noqa: S101 - the caller has asked
        if len(references) == 1:
            return Judgement(cosine, self._by_reference[references[0]], cosine)
        return Judgement(cosine, self._rules.rule(references, self._possible), cosine)

    def judge(self, vectors: Floats, conditions: Sequence[Sequence[Condition]]) -> list[Judgement]:
        """Judges templates [n, d]. `conditions`: those that each may be of."""
        if self._cohort is None:
            cosines = [float(np.clip(np.max(self._vectors @ vector), -1.0, 1.0)) for vector in vectors]
            return [self.of_cosine(one, of) for one, of in zip(cosines, conditions, strict=True)]
        judged: dict[tuple[int, Pair], Judgement] = {}
        for reference, probe in product(CONDITIONS, self._possible):
            rows = [i for i, of in enumerate(conditions) if reference in of]
            if rows:
                pair = Pair(reference, probe)
                rule = self._rules.rule([reference], [probe])
                scores = self._cohort.scores(pair, vectors[rows], self._vectors)
                # The probe's template that scores highest need not be the one of the highest cosine.
                best = (scores.argmax(axis=0), np.arange(len(rows)))
                cosines = np.clip(self._vectors @ vectors[rows].T, -1.0, 1.0)[best]
                for i, score, cosine in zip(rows, scores[best].tolist(), cosines.tolist(), strict=True):
                    judged[i, pair] = Judgement(score, rule, cosine)
        return [
            min((judged[i, Pair(*both)] for both in product(of, self._possible)), key=_leniency)
            for i, of in enumerate(conditions)
        ]

    def queries(self) -> Queries | None:
        """What to search for; None where the templates themselves are searched for and cosines are scores."""
        return None if self._cohort is None else self._cohort.queries(self._vectors, self._possible[0])

    def may_beat(self, queries: Queries, lasts: Floats, least: Judgement | None) -> bool:
        """Whether a reference could pass, or score higher than `least`, that no search has found.

        `lasts` [m]: the lowest cosine that was found for each query; what was not found has no higher one.
        """
        for reference in CONDITIONS:
            most = queries.most(reference, lasts)
            # The strictest pair decides, so it is enough to look at one of them.
            rule = self._rules.rule([reference], self._possible[:1])
            if rule.accepts(most) or (least is not None and not least.accepted and most > least.score):
                return True
        return False


def _leniency(judgement: Judgement) -> float:
    margin = judgement.margin
    return -np.inf if margin is None else margin
