"""Thresholds from prepared sets: the comparisons of each pair, and what the data cannot support."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.calibrate import Measured, make_calibration
from export.operating_points import Mated, Unsupported
from export.prepared_sets import check_support, plan_of, plans_of
from faces.rates.tail import Impostors
from faces.types import CONDITIONS, PAIRS, Condition, Pair, Role, Spectrum
from tests.export.parts import prepared

NIR = Condition(Spectrum.NIR, masked=False)
NIR_MASKED = Condition(Spectrum.NIR, masked=True)
CLEAR = [Pair.with_clear_reference(probe) for probe in CONDITIONS]


def test_probes_are_other_photos_than_their_reference_and_failures_count(tmp_path: Path) -> None:
    found = prepared(tmp_path / "set", subjects=5, photos=3, lost=2)
    for pair in CLEAR:
        plan = plan_of(found, ["validation"], pair)
        assert len(plan.references) == 5
        assert len(plan.probes) == 10
        assert plan.failed == (2 if pair.probe == NIR_MASKED else 0)
        for probe in plan.probes:
            row, reference = found.rows[probe.row], found.rows[plan.references[probe.column]]
            assert row.subject == reference.subject
            assert row.source != reference.source
            assert (row.condition, reference.condition) == (pair.probe, pair.reference)
            assert probe.mated


def test_references_in_other_conditions_are_those_rows_and_never_the_probe_itself(tmp_path: Path) -> None:
    found = prepared(tmp_path / "set", subjects=5, photos=3)
    plan = plan_of(found, ["validation"], Pair(NIR, NIR))
    assert {found.rows[i].condition for i in plan.references} == {NIR}
    assert len(plan.probes) == 5, "the other of two NIR photos"
    for probe in plan.probes:
        assert found.rows[probe.row].source != found.rows[plan.references[probe.column]].source
    sides = {role for _, role in plan.wanted}
    assert sides == set(Role)


def test_rows_of_other_splits_are_ignored(tmp_path: Path) -> None:
    found = prepared(tmp_path / "set", subjects=3)
    assert not plan_of(found, ["train", "none"], CLEAR[0]).references
    assert plans_of([found], ["none"]) == {}


def test_people_with_one_photo_give_impostors_and_no_mates(tmp_path: Path) -> None:
    plans = plans_of([prepared(tmp_path / "set", subjects=3, photos=1)], ["validation"])
    assert set(plans) == {CLEAR[0]}
    (plan,) = plans[CLEAR[0]]
    assert [probe.mated for probe in plan.probes] == [False] * 3


def test_the_set_with_most_people_gives_the_impostors(tmp_path: Path) -> None:
    few = prepared(tmp_path / "few", subjects=3)
    many = prepared(tmp_path / "many", subjects=4, photos=2)
    plans = plans_of([few, many], ["validation"])
    assert set(plans) == set(PAIRS)
    assert [plan.prepared.info.name for plan in plans[CLEAR[0]]] == ["many", "few"]


def measured(people: int, *, probes: int = 2, away: float = 0.0) -> Measured:
    """Several probes of each person: mated scores around .6, non-mated around `away`."""
    rng = np.random.default_rng(people)
    own = np.repeat(np.arange(people), probes)
    scores = np.clip(rng.normal(away, 0.1, (len(own), people)), -1, 1).astype(np.float32)
    impostors = Impostors(scores, np.eye(people, dtype=np.float32), own, (None,) * people)
    return Measured(impostors, Mated(rng.normal(0.6, 0.1, len(own)).astype(np.float32)))


def test_one_pair_with_few_people_lowers_the_defaults_of_all() -> None:
    sizes = dict.fromkeys(CLEAR, measured(300))
    rich = make_calibration(sizes.get, data="d", synthetic="s", command="c")
    assert (rich.default_fmr, rich.duplicate_fmr) == (1e-3, 1e-3)
    assert [points.pair for points in rich.pairs] == CLEAR
    poor = make_calibration((sizes | {CLEAR[3]: measured(100)}).get, data="d", synthetic="s", command="c")
    assert (poor.default_fmr, poor.duplicate_fmr) == (1e-2, 1e-2)
    assert [p.fmr for p in poor.points(CLEAR[3]) if p.method == "observed"] == [1e-2]


def test_a_further_pair_that_supports_nothing_stays_uncalibrated() -> None:
    sizes = dict.fromkeys(CLEAR, measured(100)) | {Pair(NIR, NIR): measured(20)}
    made = make_calibration(sizes.get, data="d", synthetic="s", command="c")
    assert not made.has(Pair(NIR, NIR))
    sizes[Pair(NIR, NIR)] = measured(100, away=0.2)
    made = make_calibration(sizes.get, data="d", synthetic="s", command="c")
    assert made.at(Pair(NIR, NIR), 1e-2).threshold > made.at(CLEAR[1], 1e-2).threshold + 0.1


def test_more_probes_of_a_subject_do_not_replace_subjects() -> None:
    sizes = dict.fromkeys(CLEAR, measured(300)) | {CLEAR[3]: measured(40, probes=20)}
    with pytest.raises(Unsupported, match=r"nir-masked: 40 subjects support no FMR of 0\.01.*780 pairs"):
        make_calibration(sizes.get, data="d", synthetic="s", command="c", targets=[1e-2])


def test_a_condition_of_probes_without_any_is_refused_by_name() -> None:
    sizes = dict.fromkeys(CLEAR[:3], measured(100))
    with pytest.raises(Unsupported, match="no probes of nir-masked"):
        make_calibration(sizes.get, data="d", synthetic="s", command="c")


def test_keeping_other_pairs_wants_people_enough_for_every_pair_of_the_sets(tmp_path: Path) -> None:
    few = prepared(tmp_path / "few", subjects=20, photos=2, spectra=(Spectrum.NIR,))
    with pytest.raises(Unsupported, match=r"vis-unmasked: 20 subjects support no FMR of 0\.01"):
        check_support([few], ["validation"], targets=[1e-2], keep_others=True)
    with pytest.raises(Unsupported, match="few: no two people to compare in the split none"):
        check_support([few], ["none"], keep_others=True)


def test_kept_pairs_keep_the_default_where_the_new_ones_have_it() -> None:
    others = make_calibration(dict.fromkeys(CLEAR, measured(300)).get, data="d", synthetic="s", command="c")
    assert others.default_fmr == 1e-3
    new = {Pair(NIR, NIR): measured(100, away=0.2)}
    made = make_calibration(new.get, data="own", synthetic="t", command="c", others=others)
    # Of 100 people 1e-3 is extrapolated: still an FMR of that pair, so the default stays.
    assert (made.default_fmr, made.duplicate_fmr) == (1e-3, 1e-3)
    assert made.at(Pair(NIR, NIR), 1e-3).method == "extrapolated"
    assert [made.points(pair) for pair in CLEAR] == [others.points(pair) for pair in CLEAR]
    assert (made.data, made.synthetic) == ("own; other pairs: d", "t; other pairs: s")
    with pytest.raises(Unsupported, match="20 subjects"):
        make_calibration({Pair(NIR, NIR): measured(20)}.get, data="", synthetic="", command="", others=others)
