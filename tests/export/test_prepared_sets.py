"""Thresholds from prepared sets: the comparisons, and what the data cannot support."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.calibrate import make_calibration
from export.operating_points import Comparisons, Unsupported
from export.prepared_sets import plan_of
from faces.types import CONDITIONS, Condition, Spectrum
from tests.export.parts import prepared

NIR_MASKED = Condition(Spectrum.NIR, masked=True)


def test_probes_are_other_photos_than_their_reference_and_failures_count(tmp_path: Path) -> None:
    found = prepared(tmp_path / "set", subjects=5, photos=3, lost=2)
    plan = plan_of(found, ["validation"])
    assert len(plan.references) == 5
    assert set(plan.probes) == set(CONDITIONS)
    for probes in plan.probes.values():
        assert len(probes) == 10
        for row, column in probes:
            probe, reference = found.rows[row], found.rows[plan.references[column]]
            assert probe.subject == reference.subject
            assert probe.source != reference.source
    assert plan.failed[NIR_MASKED] == (0, 1)
    assert not plan.failed[Condition(Spectrum.VIS, masked=True)]


def test_rows_of_other_splits_are_ignored(tmp_path: Path) -> None:
    found = prepared(tmp_path / "set", subjects=3)
    assert not plan_of(found, ["train", "none"]).references


def test_a_set_of_single_photos_has_no_probes(tmp_path: Path) -> None:
    assert not plan_of(prepared(tmp_path / "set", subjects=3, photos=1), ["validation"]).probes


def compared(subjects: int, *, probes: int = 2, away: float = 0.0) -> Comparisons:
    """Several probes of each subject: mated scores around .6, non-mated around `away`."""
    rng = np.random.default_rng(subjects)
    own = np.repeat(np.arange(subjects), probes)
    scores = rng.normal(away, 0.1, (len(own), subjects)).astype(np.float32)
    scores[np.arange(len(own)), own] = rng.normal(0.6, 0.1, len(own))
    every = np.ones(len(own), bool)
    return Comparisons(np.clip(scores, -1, 1), own, every, every)


def test_one_condition_with_few_subjects_lowers_the_defaults_of_all() -> None:
    sizes = dict.fromkeys(CONDITIONS, compared(300))
    rich = make_calibration(sizes, data="d", synthetic="s", command="c")
    assert (rich.default_fmr, rich.duplicate_fmr) == (1e-3, 1e-3)
    poor = make_calibration(sizes | {NIR_MASKED: compared(100)}, data="d", synthetic="s", command="c")
    assert (poor.default_fmr, poor.duplicate_fmr) == (1e-2, 1e-2)
    assert poor.supported(NIR_MASKED) == (1e-2,)
    assert [point.fmr for point in poor.worst] == [1e-2]


def test_more_probes_of_a_subject_do_not_replace_subjects() -> None:
    with pytest.raises(Unsupported, match=r"nir-masked: 40 subjects support no FMR of 0\.01.*780 pairs"):
        make_calibration(
            dict.fromkeys(CONDITIONS, compared(300)) | {NIR_MASKED: compared(40, probes=20)},
            data="d",
            synthetic="s",
            command="c",
            targets=[1e-2],
        )


def test_a_condition_without_probes_is_refused_by_name() -> None:
    sizes = dict.fromkeys(CONDITIONS, compared(100))
    del sizes[NIR_MASKED]
    with pytest.raises(Unsupported, match="no probes of nir-masked"):
        make_calibration(sizes, data="d", synthetic="s", command="c")


def test_the_worst_case_meets_its_fmr_in_every_condition() -> None:
    sizes = dict.fromkeys(CONDITIONS, compared(150)) | {NIR_MASKED: compared(150, away=0.2)}
    made = make_calibration(sizes, data="d", synthetic="s", command="c")
    (worst,) = made.worst
    assert worst.threshold == made.at(NIR_MASKED, 1e-2).threshold
    for condition, one in sizes.items():
        off = np.ones(one.scores.shape, bool)
        off[np.arange(len(off)), one.own] = False
        assert np.mean(one.scores[off] >= worst.threshold) <= worst.fmr
        assert worst.fnmr >= made.at(condition, 1e-2).fnmr
