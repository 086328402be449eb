"""Sightings of unknown faces are grouped by the calibrated threshold of their pair of conditions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from faces.masks import MaskReading, MaskState
from faces.types import CONDITIONS, PAIRS, AlignedCrop, Box, Embedding, Face, Pair, Role, Spectrum
from service.inference.engine import Description
from service.live.clusters import clusters_of
from service.live.decisions import Decision
from service.live.facts import Sighting, facts_of, opened, with_reference
from service.matching.rules import Options, Rules
from service.store.probes import KeptProbe
from tests.cohorts import cohort, people, scores_by_hand
from tests.service.live.test_feed import DECISION, QUALITY
from tests.service.matching.test_rules import table, threshold

VIS, VIS_MASKED, NIR, NIR_MASKED = CONDITIONS
NOW = datetime(2026, 11, 29, tzinfo=UTC)
FMR = 1e-4
EYES, MOUTH = ((20.0, 40.0), (40.0, 40.0)), ((22.0, 60.0), (38.0, 60.0))
FACE = Face(Box(10.0, 20.0, 50.0, 60.0), (*EYES, (30.0, 50.0), *MOUTH), 0.9)


def unit(*values: float) -> NDArray[np.float32]:
    row = np.zeros(8, np.float32)
    row[: len(values)] = values
    return np.asarray(row / np.linalg.norm(row), np.float32)


def at_cosine(cosine: float, axis: int = 1) -> NDArray[np.float32]:
    """A unit vector with this cosine to the first axis."""
    row = np.zeros(8, np.float32)
    row[0], row[axis] = cosine, np.sqrt(1 - cosine**2)
    return row


def sighting(
    number: int,
    probe: NDArray[np.float32],
    *,
    reference: NDArray[np.float32] | None = None,
    masked: bool = False,
    spectrum: Spectrum = Spectrum.VIS,
    quality: int = 80,
    state: str = "unknown",
) -> Sighting:
    """As `opened` makes it from what `facts_of` wrote. `reference`: the probe's own unless given."""
    mask = MaskReading(MaskState.MASKED if masked else MaskState.UNMASKED, masked, 0.9 if masked else 0.1)
    crop = AlignedCrop(np.zeros((112, 112, 3), np.uint8), "arcface-112", 40.0, spectrum)
    embeddings = (Embedding(probe, "space", Role.PROBE),)
    seen = Description(FACE, crop, embeddings, mask, replace(QUALITY, score=quality))
    decision: Decision = replace(DECISION, event_id=f"{number:024x}")
    as_reference = Embedding((probe if reference is None else reference).copy(), "space", Role.REFERENCE)
    facts = with_reference(facts_of(decision, seen, None), as_reference)
    at = NOW + timedelta(seconds=number)
    sealed = facts.model_dump_json().encode()
    return opened(KeptProbe(decision.event_id, at, "space", state, sealed))  # type: ignore[arg-type]


def groups(*sightings: Sighting) -> list[list[int]]:
    found = clusters_of(sightings, table(PAIRS))
    return [[int(one.event_id, 16) for one in cluster.sightings] for cluster in found]


def test_what_was_written_is_read_again() -> None:
    one = sighting(7, unit(1, 2), reference=unit(2, 1), masked=True, spectrum=Spectrum.NIR, quality=55)
    assert one.conditions == (NIR_MASKED,)
    assert one.face == FACE
    assert one.picture.quality == replace(QUALITY, score=55)
    np.testing.assert_array_equal(one.probe, unit(1, 2)[None])
    assert one.reference is not None
    np.testing.assert_array_equal(one.reference, unit(2, 1))


def test_the_threshold_of_the_pair_decides_on_both_sides() -> None:
    limit = threshold(Pair(VIS, VIS), FMR)
    first = sighting(1, unit(1))
    assert groups(first, sighting(2, at_cosine(limit + 0.005))) == [[1, 2]]
    assert groups(first, sighting(2, at_cosine(limit - 0.005))) == [[1], [2]]


@pytest.mark.parametrize("conditions", [(VIS, NIR_MASKED), (NIR_MASKED, VIS), (NIR, NIR)])
def test_each_pair_of_conditions_has_its_own(conditions: tuple[object, object]) -> None:
    earlier, later = conditions
    limit = threshold(Pair(earlier, later), FMR)  # type: ignore[arg-type]

    def seen(number: int, condition: object, probe: NDArray[np.float32]) -> Sighting:
        return sighting(number, probe, masked=condition.masked, spectrum=condition.spectrum)  # type: ignore[attr-defined]

    first = seen(1, earlier, unit(1))
    assert groups(first, seen(2, later, at_cosine(limit + 0.004))) == [[1, 2]]
    assert groups(first, seen(2, later, at_cosine(limit - 0.004))) == [[1], [2]]


def test_the_earlier_sighting_counts_as_reference_and_the_later_one_as_probe() -> None:
    first = sighting(1, unit(0, 0, 1), reference=unit(1))
    second = sighting(2, unit(1), reference=unit(0, 0, 0, 1))
    assert groups(first, second) == [[1, 2]]
    assert groups(second, first) == [[2], [1]]


def test_a_sighting_joins_whom_it_passes_by_most() -> None:
    near, far = sighting(1, unit(1)), sighting(2, unit(0, 1))
    both = sighting(3, unit(0.7, 0.72))
    assert groups(near, far, both) == [[1], [2, 3]]


def test_a_pair_without_thresholds_joins_nobody() -> None:
    calibrated = table(tuple(pair for pair in PAIRS if pair.reference == VIS))
    same = [
        sighting(1, unit(1), spectrum=Spectrum.NIR),
        sighting(2, unit(1), spectrum=Spectrum.NIR),
        sighting(3, unit(1)),
        sighting(4, unit(1), spectrum=Spectrum.NIR),
    ]
    found = clusters_of(same, calibrated)
    # Only a clear visible sighting counts as a reference here.
    assert [[int(one.event_id, 16) for one in cluster.sightings] for cluster in found] == [[1], [2], [3, 4]]


def test_a_cluster_knows_its_first_and_its_best_sighting_and_whether_it_is_ignored() -> None:
    masked = sighting(1, unit(1), masked=True, quality=95)
    seen = (masked, sighting(2, unit(1), quality=60), sighting(3, unit(1), quality=70))
    (cluster,) = clusters_of(seen, table(PAIRS))
    assert cluster.cluster_id == masked.event_id
    assert int(cluster.best.event_id, 16) == 3
    assert not cluster.ignored
    (hidden,) = clusters_of((sighting(0, unit(1), state="ignored"), *seen), table(PAIRS))
    assert hidden.ignored
    assert clusters_of((), table(PAIRS)) == []


def test_by_a_cohort_sightings_join_by_the_scores_that_thresholds_are_for() -> None:
    of, calibrated = cohort(8), table(PAIRS)
    kinds = [(VIS, False), (NIR, False), (VIS_MASKED, True), (NIR_MASKED, True)]
    rows = people(24, of, seed=6)
    seen = [
        sighting(i, row, masked=masked, spectrum=kinds[i % 4][0].spectrum)
        for i, (row, masked) in enumerate((row, kinds[i % 4][1]) for i, row in enumerate(rows))
    ]
    rules = Rules.of(calibrated, Options(), comparisons=1)
    label: list[int] = []
    for j, probe in enumerate(seen):
        margins = []
        for i, reference in enumerate(seen[:j]):
            pair = Pair(reference.conditions[0], probe.conditions[0])
            limit = rules.rule([pair.reference], [pair.probe]).threshold
            assert limit is not None
            margins.append(float(scores_by_hand(of, pair, rows[i : i + 1], rows[j : j + 1])[0, 0]) - limit)
        best = int(np.argmax(margins)) if margins else -1
        label.append(label[best] if margins and margins[best] >= 0 else len(set(label)))
    found = clusters_of(seen, calibrated, of)
    assert 1 < len(found) < len(seen)
    by_hand = [[i for i, one in enumerate(label) if one == name] for name in range(len(set(label)))]
    assert [[int(one.event_id, 16) for one in cluster.sightings] for cluster in found] == by_hand
