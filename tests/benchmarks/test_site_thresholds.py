"""How the decisions about held-out people are counted."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.site_thresholds import Answered, judged

PEOPLE = 20


def answers(*wrong: tuple[int, int]) -> list[Answered]:
    """Two probes of everybody, each accepted as its own person; with the first, those of `wrong` too."""
    made = []
    for person in range(PEOPLE):
        others = tuple(other for probe, other in wrong if probe == person)
        made += [Answered(person, (person, *others), PEOPLE, 0.4), Answered(person, (person,), PEOPLE, 0.4)]
    return made


def test_false_matches_are_counted_among_comparisons_of_different_people() -> None:
    row = judged("own", 1e-2, 0.02, PEOPLE, answers((0, 1), (0, 2), (5, 6)))
    assert (row.false_matches, row.comparisons) == (3, 2 * PEOPLE * (PEOPLE - 1))
    assert row.observed.value == pytest.approx(3 / 760)
    assert row.observed.low <= row.observed.value < row.observed.high
    assert row.holds
    assert row.fnmr == 0
    assert not judged("own", 1e-3, 0.003, PEOPLE, answers((0, 1), (0, 2), (5, 6))).holds


def test_who_makes_all_false_matches_gives_a_wider_interval_than_everybody_with_one() -> None:
    alike = judged("own", 1e-2, 0.02, PEOPLE, answers(*((0, other) for other in range(1, 11))))
    apart = judged("own", 1e-2, 0.02, PEOPLE, answers(*((one, one + 10) for one in range(10))))
    assert alike.observed.value == apart.observed.value
    assert alike.observed.high > apart.observed.high


def test_a_probe_without_a_face_is_a_false_non_match_and_no_comparison() -> None:
    seen = answers()
    seen[0] = Answered(0, (), 0)
    seen[3] = Answered(1, (), PEOPLE, 0.4)
    row = judged("own", 1e-2, 0.02, PEOPLE, seen)
    assert row.comparisons == (2 * PEOPLE - 1) * (PEOPLE - 1)
    assert row.fnmr == pytest.approx(2 / 40)
    assert row.false_matches == 0
    assert row.observed.value == 0
    assert 0.05 < row.observed.high < 0.3
    assert np.isfinite(row.observed.high)


def test_a_missing_comparison_or_a_second_threshold_is_an_error() -> None:
    seen = answers()
    seen[4] = Answered(2, (2,), PEOPLE - 1, 0.4)
    with pytest.raises(ValueError, match="do not list all"):
        judged("own", 1e-2, 0.02, PEOPLE, seen)
    seen[4] = Answered(2, (2,), PEOPLE, 0.5)
    with pytest.raises(ValueError, match="one threshold was expected"):
        judged("own", 1e-2, 0.02, PEOPLE, seen)
