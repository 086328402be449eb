"""Finds the comparisons that were decided most wrongly, one of each pair of people."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from faces.rates.scores import Comparison
from faces.types import Pair
from service.evaluation.figures import Mistake
from service.evaluation.labelled import LabelledPhoto

WORST = 12


def mistakes_of(
    comparison: Comparison, pair: Pair, threshold: float | None, photos: Mapping[str, LabelledPhoto]
) -> list[Mistake]:
    """The highest scores of different people and the lowest of the same person, worst first.

    `photos`: by the sources of the comparison. `threshold`: None where the pair has none.
    """
    found = []
    probes, gallery = comparison.probes, comparison.gallery
    for mated in (False, True):
        rows, columns = np.nonzero(comparison.mated == mated)
        scores = comparison.scores[rows, columns].astype(np.float64)
        people = set[tuple[int, int]]()
        for place in np.argsort(scores if mated else -scores, kind="stable"):
            row, column = int(rows[place]), int(columns[place])
            # Of two people who look alike every picture does: one shows it.
            both = sorted((int(probes.subjects[row]), int(gallery.subjects[column])))
            if (both[0], both[1]) in people:
                continue
            people.add((both[0], both[1]))
            probe, reference = photos[probes.sources[row]], photos[gallery.sources[column]]
            score = float(scores[place])
            accepted = threshold is not None and score >= threshold
            found.append(
                Mistake(
                    kind="missed" if mated else "false_match",
                    camera=probe.camera,
                    pair=pair,
                    probe=probe.name,
                    probe_subject=probe.subject,
                    reference=reference.name,
                    reference_subject=reference.subject,
                    score=round(score, 6),
                    threshold=threshold,
                    wrong=threshold is not None and accepted != mated,
                )
            )
            if len(people) == WORST:
                break
    return found
