"""Groups sightings of unknown faces by person, by the calibrated thresholds of the space.

The rule: sightings are taken in order of their time. Each is compared as a probe with every earlier one as
a reference (exact cosines), and judged by the threshold of their pair of conditions at the space's default
FMR, as if the earlier one had been enrolled. It joins the cluster of the sighting that it passes by the
largest margin; if it passes none, it begins a cluster. A chain of sightings may so join two people who
resemble each other: a person looks before anything is enrolled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.calibration import Calibration
from faces.types import Condition
from service.live.facts import Sighting
from service.matching.rules import Options, Rules

# No cosine reaches it: for pairs of conditions without a threshold, and sightings without a template.
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


def clusters_of(sightings: Sequence[Sighting], calibration: Calibration) -> list[Cluster]:
    """Clusters of sightings, which are in order of their time; blocks. n sightings need n² / 2 cosines."""
    if not sightings:
        return []
    rules = Rules.of(calibration, Options(), comparisons=1)
    kinds = sorted({one.conditions for one in sightings})
    place = {kind: number for number, kind in enumerate(kinds)}
    thresholds = np.array(
        [[_threshold(rules, reference, probe) for reference in kinds] for probe in kinds], np.float32
    )
    dimension = sightings[0].probe.shape[1]
    references = np.zeros((len(sightings), dimension), np.float32)
    needed = np.zeros(len(sightings), np.int64)
    usable = np.zeros(len(sightings), bool)
    label: list[int] = []
    members: list[list[Sighting]] = []
    for number, one in enumerate(sightings):
        joined = _best(
            one, references[:number], usable[:number], thresholds[place[one.conditions]][needed[:number]]
        )
        if joined is None:
            label.append(len(members))
            members.append([one])
        else:
            label.append(label[joined])
            members[label[joined]].append(one)
        needed[number] = place[one.conditions]
        if one.reference is not None:
            references[number], usable[number] = one.reference, True
    return [Cluster(tuple(found)) for found in members]


def _best(
    one: Sighting,
    references: NDArray[np.float32],
    usable: NDArray[np.bool_],
    thresholds: NDArray[np.float32],
) -> int | None:
    """The earlier sighting that this one passes by the largest margin; None if it passes none."""
    if not len(references):
        return None
    scores = (references @ one.probe.T).max(axis=1)
    margins = np.where(usable, scores - thresholds, -NEVER)
    best = int(np.argmax(margins))
    return best if margins[best] >= 0 else None


def _threshold(rules: Rules, reference: Sequence[Condition], probe: Sequence[Condition]) -> float:
    found = rules.rule(reference, probe).threshold
    return float(NEVER) if found is None else found
