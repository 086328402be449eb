"""Groups sightings of unknown faces by person, by the calibrated thresholds of the space.

The rule: sightings are taken in order of their time. Each is compared as a probe with every earlier one as
a reference (exact scores), and judged by the threshold of their pair of conditions at the space's default
FMR, as if the earlier one had been enrolled. It joins the cluster of the sighting that it passes by the
largest margin; if it passes none, it begins a cluster. A chain of sightings may so join two people who
resemble each other: a person looks before anything is enrolled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product, starmap

import numpy as np
from numpy.typing import NDArray

from faces.calibration import Calibration
from faces.cohort import Cohort
from faces.types import CONDITIONS, PAIRS, Pair, Role
from service.live.facts import Sighting
from service.matching.rules import Options, Rules

# No score reaches it: for pairs of conditions without a threshold, and sightings without a template.
NEVER = np.float32(4.0)


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """Sightings of one face, at least one, oldest first."""

    sightings: tuple[Sighting, ...]

    @property
    def cluster_id(self) -> str:
        """The event of its first sighting."""
        return self.sightings[0].event_id

    @property
    def ignored(self) -> bool:
        """Whether somebody asked not to see this face again."""
        return any(one.state == "ignored" for one in self.sightings)

    @property
    def best(self) -> Sighting:
        """The sighting of the highest quality, unmasked before masked."""
        return max(self.sightings, key=lambda one: (not one.picture.mask.masked, one.picture.quality.score))


def clusters_of(
    sightings: Sequence[Sighting], calibration: Calibration, cohort: Cohort | None = None
) -> list[Cluster]:
    """Clusters of sightings, which are in order of their time; blocks. n sightings need n² / 2 cosines.

    `cohort`: that which the thresholds are for.
    """
    if not sightings:
        return []
    earlier = _Earlier(sightings, calibration, cohort)
    label: list[int] = []
    members: list[list[Sighting]] = []
    for one in sightings:
        joined = earlier.joined_by(one)
        if joined is None:
            label.append(len(members))
            members.append([one])
        else:
            label.append(label[joined])
            members[label[joined]].append(one)
        earlier.add(one)
    return [Cluster(tuple(found)) for found in members]


class _Earlier:
    """The sightings before one, as references."""

    def __init__(
        self, sightings: Sequence[Sighting], calibration: Calibration, cohort: Cohort | None
    ) -> None:
        self._rules, self._cohort = Rules.of(calibration, Options(), comparisons=1), cohort
        self._kinds = sorted({one.conditions for one in sightings})
        count = len(sightings)
        self._vectors = np.zeros((count, sightings[0].probe.shape[1]), np.float32)
        self._kind, self._usable = np.zeros(count, np.int64), np.zeros(count, bool)
        self._taken = {pair: np.zeros(count, np.float32) for pair in PAIRS}
        self._count = 0

    def add(self, one: Sighting) -> None:
        number, self._count = self._count, self._count + 1
        self._kind[number] = self._kinds.index(one.conditions)
        if one.reference is None:
            return
        self._vectors[number], self._usable[number] = one.reference, True
        if self._cohort is not None:
            for pair in starmap(Pair, product(one.conditions, CONDITIONS)):
                self._taken[pair][number] = self._cohort.taken(one.reference[None], Role.REFERENCE, pair)[0]

    def joined_by(self, one: Sighting) -> int | None:
        """The earlier sighting that this one passes by the largest margin; None if it passes none."""
        if not self._count:
            return None
        cosines = self._vectors[: self._count] @ one.probe.T
        margins = np.full(self._count, -NEVER)
        for number, kind in enumerate(self._kinds):
            rows = np.flatnonzero(self._usable[: self._count] & (self._kind[: self._count] == number))
            if len(rows):
                pairs = list(starmap(Pair, product(kind, one.conditions)))
                margins[rows] = np.min([self._margins(one, cosines, rows, pair) for pair in pairs], axis=0)
        best = int(np.argmax(margins))
        return best if margins[best] >= 0 else None

    def _margins(
        self, one: Sighting, cosines: NDArray[np.float32], rows: NDArray[np.intp], pair: Pair
    ) -> NDArray[np.float32]:
        threshold = self._rules.rule([pair.reference], [pair.probe]).threshold
        if threshold is None:
            return np.full(len(rows), -NEVER)
        taken = np.zeros(len(one.probe), np.float32)
        if self._cohort is not None:
            taken = self._cohort.taken(one.probe, Role.PROBE, pair)
        scores = (cosines[rows] - taken).max(axis=1) - self._taken[pair][rows]
        margins: NDArray[np.float32] = scores - np.float32(threshold)
        return margins
