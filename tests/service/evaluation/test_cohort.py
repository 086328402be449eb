"""A site's evaluation by a cohort: its figures and thresholds are of the scores that decide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faces.types import CONDITIONS, Pair, Role
from service.evaluation.described import Described, Template
from service.evaluation.kept import KeptTemplates
from service.evaluation.measure import Bench, NothingToCompare, Setting, measure
from service.evaluation.report import threshold_table
from tests.cohorts import cohort, scores_by_hand
from tests.service.evaluation.made import NIR, NIR_MASKED, VIS, D, People

OF, NAME = cohort(D, lower=0.8), "co-0123"


def relative(found: list[Described]) -> list[Described]:
    """The same photos as a service describes them whose bundle has a cohort."""
    made = []
    for one in found:
        assert isinstance(one.found, Template)
        taken = OF.taken_by_other(one.found.vector, one.photo.role, one.found.condition)
        made.append(replace(one, found=replace(one.found, cohort=NAME, taken=taken)))
    return made


PEOPLE = People(40).add(Role.REFERENCE, VIS).add(Role.REFERENCE, NIR, people=range(9))
PEOPLE.add(Role.PROBE, NIR_MASKED, each=4)
PLAIN = PEOPLE.made
FOUND = relative(PLAIN)


def vectors(role: Role, *conditions: object) -> np.ndarray:
    found = [one.found for one in FOUND if one.photo.role is role]
    return np.stack(
        [one.vector for one in found if isinstance(one, Template) and one.condition in conditions]
    )


def test_scores_of_a_pair_are_relative_to_the_cohort() -> None:
    bench, pair = Bench(FOUND), Pair(VIS, NIR_MASKED)
    comparison = bench.compare(None, pair)
    assert comparison is not None
    by_hand = scores_by_hand(OF, pair, vectors(Role.REFERENCE, VIS), vectors(Role.PROBE, NIR_MASKED))
    np.testing.assert_allclose(comparison.scores, by_hand, atol=1e-5)
    assert (
        np.abs(comparison.scores - comparison.probes.templates @ comparison.gallery.templates.T).max() > 0.01
    )


def test_a_search_scores_each_reference_by_its_own_condition() -> None:
    comparison, conditions = Bench(FOUND).search(None, NIR_MASKED)
    for reference in (VIS, NIR):
        columns = [i for i, one in enumerate(conditions) if one == reference]
        rows = comparison.gallery.templates[columns]
        by_hand = scores_by_hand(OF, Pair(reference, NIR_MASKED), rows, comparison.probes.templates)
        np.testing.assert_allclose(comparison.scores[:, columns], by_hand, atol=1e-5)


def test_suggested_thresholds_name_the_cohort_that_they_are_for() -> None:
    setting = Setting(space_id="sp-1", fmr_points=(0.1,))
    table = threshold_table(measure(FOUND, setting), made_at="now")
    assert table is not None
    assert table.cohort == NAME
    plain = threshold_table(measure(PLAIN, setting), made_at="now")
    assert plain is not None
    assert plain.cohort is None
    assert plain.cameras != table.cameras


def test_templates_of_two_bundles_are_not_compared() -> None:
    with pytest.raises(NothingToCompare, match="another bundle"):
        measure([*FOUND[:5], *PLAIN[5:]], Setting(space_id="sp-1"))


def test_what_is_taken_is_kept_with_the_template(tmp_path: Path) -> None:
    kept = KeptTemplates(tmp_path, "sp-1")
    kept.put(FOUND[0].photo, FOUND[0].digest, FOUND[0].found)
    kept.close(remove=False)
    found = KeptTemplates(tmp_path, "sp-1").get(FOUND[0].photo, FOUND[0].digest)
    assert isinstance(found, Template)
    assert isinstance(FOUND[0].found, Template)
    assert found.cohort == NAME
    assert found.taken == FOUND[0].found.taken


def test_something_is_taken_for_every_condition_or_for_none() -> None:
    one = FOUND[0].found
    assert isinstance(one, Template)
    with pytest.raises(ValueError, match="every condition"):
        replace(one, taken={CONDITIONS[0]: 0.1})
    with pytest.raises(ValueError, match="without one"):
        replace(one, cohort=None)
