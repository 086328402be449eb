"""The figures of an evaluation are those of their definitions, on templates made for the purpose."""

from __future__ import annotations

import json

import numpy as np
import pytest

from faces.calibration import OperatingPoint, PairPoints
from faces.types import Pair, Role
from service.evaluation.described import Described, Template, without_repeats
from service.evaluation.figures import as_json
from service.evaluation.measure import NothingToCompare, Setting, measure
from service.evaluation.points import ALLOWED
from service.evaluation.report import threshold_table
from service.evaluation.sentences import coverage_sentence, default_warnings
from service.spaces.threshold_table import ThresholdTable
from tests.service.evaluation.made import NIR, NIR_MASKED, VIS, People, usual

CLEAR = Pair.with_clear_reference(NIR_MASKED)
SETTING = Setting(space_id="sp-made", fmr_points=(0.1, 0.03, 1e-2, 1e-3))


def scores_of(found: list[Described]) -> tuple[np.ndarray, np.ndarray]:
    """Mated and non-mated scores, comparison by comparison."""
    sides: dict[Role, list[tuple[str, np.ndarray]]] = {role: [] for role in Role}
    for one in found:
        if isinstance(one.found, Template):
            sides[one.photo.role].append((one.photo.subject, one.found.vector))
    mated, strangers = list[float](), list[float]()
    for subject, probe in sides[Role.PROBE]:
        for other, reference in sides[Role.REFERENCE]:
            (mated if subject == other else strangers).append(float(np.float32(probe @ reference)))
    return np.array(mated), np.array(strangers)


def test_thresholds_keep_their_fmr_and_fnmr_counts_failed_probes() -> None:
    found = usual()
    people = People(0, seed=1)
    people.lose(Role.PROBE, 3).lose(Role.PROBE, 4)
    evaluation = measure([*found, *people.made], SETTING)
    (one,) = evaluation.pairs
    mated, strangers = scores_of(found)
    assert (one.pair, one.camera) == (CLEAR, None)
    assert (one.mated, one.failed) == (len(mated) + 2, 2)
    assert one.coverage.comparisons == len(strangers) == 40 * 4 * 39
    assert one.coverage.people == 40
    for point in one.suggested:
        accepted = int((strangers >= point.threshold).sum())
        assert point.false_matches == accepted
        assert accepted <= point.fmr * len(strangers)
        assert point.fmr_upper > accepted / len(strangers)
        assert point.fnmr is not None
        missed = (int((mated < point.threshold).sum()) + 2) / (len(mated) + 2)
        assert point.fnmr.value == pytest.approx(missed)
        assert point.fnmr.low <= missed <= point.fnmr.high
    thresholds = [point.threshold for point in one.suggested]
    assert thresholds == sorted(thresholds)


def test_an_fmr_is_supported_by_three_over_fmr_independent_comparisons() -> None:
    (one,) = measure(usual(), SETTING).pairs
    supports = one.coverage.supports
    assert supports is not None
    assert one.coverage.independent * supports >= ALLOWED
    assert one.coverage.independent <= one.coverage.comparisons
    # Copies of a person's photo are no further people: they make no stricter FMR supported.
    (many,) = measure(usual(each=40), SETTING).pairs
    assert many.coverage.comparisons == 10 * one.coverage.comparisons
    assert many.coverage.independent < 3 * one.coverage.independent
    assert "supports FMR" in coverage_sentence(one)
    # The next one, and what it lacks.
    assert one.coverage.limit == "comparisons"
    assert one.coverage.next_fmr == max(fmr for fmr in SETTING.fmr_points if fmr < supports)
    assert f"{one.coverage.probes} masked NIR probes of 40 people" in coverage_sentence(one)


def test_few_people_support_nothing_however_many_photos() -> None:
    evaluation = measure(usual(9, each=60), SETTING)
    (one,) = evaluation.pairs
    assert one.coverage.supports is None
    assert one.points is None
    assert "9 people are too few" in coverage_sentence(one)
    assert (one.coverage.limit, one.coverage.next_fmr) == ("people", None)
    assert threshold_table(evaluation, made_at="now") is None


def test_each_camera_has_figures_of_its_own() -> None:
    people = People(30).add(Role.REFERENCE, VIS)
    people.add(Role.PROBE, NIR_MASKED, each=3, camera="door").add(
        Role.PROBE, NIR_MASKED, each=3, camera="gate"
    )
    people.add(Role.PROBE, NIR_MASKED, camera="rare", people=[0]).lose(Role.PROBE, 5, camera="gate")
    evaluation = measure(people.made, SETTING)
    counts = {one.camera: one.coverage.probes for one in evaluation.pairs}
    assert counts == {None: 181, "door": 90, "gate": 90}
    lost = {one.camera: one.failed for one in evaluation.acquisition if one.role is Role.PROBE}
    assert lost == {None: 1, "door": 0, "gate": 1}
    table = threshold_table(evaluation, made_at="now")
    assert table is not None
    assert [one.camera for one in table.cameras] == [None, "door", "gate"]
    again = ThresholdTable.model_validate_json(json.dumps(as_json(table)))
    assert again == table


def test_identification_is_ranked_and_searched_without_the_own_subject() -> None:
    found = usual(20, each=2)
    strangers = People(6, seed=5, first=500).add(Role.PROBE, NIR_MASKED).made
    evaluation = measure([*found, *strangers], SETTING)
    (one,) = evaluation.identification
    assert (one.searches, one.enrolled, one.references) == (46, 20, 20)
    references = [o for o in found if o.photo.role is Role.REFERENCE]
    gallery = np.stack([o.found.vector for o in references if isinstance(o.found, Template)])
    names = np.array([o.photo.subject for o in references])
    at = next(rates for rates in one.at if rates.source == "suggested")
    threshold = next(p.threshold for p in evaluation.pairs[0].suggested if p.fmr == at.fmr)
    first = wrong = missed = 0
    probes = [o for o in (*found, *strangers) if o.photo.role is Role.PROBE]
    for probe in probes:
        assert isinstance(probe.found, Template)
        scores = gallery @ probe.found.vector
        own = names == probe.photo.subject
        wrong += scores[~own].max() >= threshold
        if own.any():
            hit = scores[own].max() > scores[~own].max()
            first += hit
            missed += not (hit and scores[own].max() >= threshold)
    assert at.fpir.value == pytest.approx(wrong / len(probes))
    assert at.fnir is not None
    assert at.fnir.value == pytest.approx(missed / 40)
    assert one.rank1 is not None
    assert one.rank1.value == pytest.approx(first / 40)
    assert one.cmc[0] == pytest.approx(first / 40)
    assert list(one.cmc) == sorted(one.cmc)


def test_thresholds_in_force_are_measured_beside_and_the_default_is_compared() -> None:
    points = (
        OperatingPoint(fmr=1e-2, threshold=0.5, fmr_upper=1e-2),
        OperatingPoint(fmr=1e-4, threshold=0.9, fmr_upper=1e-4),
    )
    known = PairPoints(reference=VIS, probe=NIR_MASKED, subjects=2, mated=0, non_mated=2, points=points)
    setting = Setting(
        space_id="sp-made", default_fmr=1e-4, gallery_templates=1000, in_force=lambda _camera: {CLEAR: known}
    )
    found = usual()
    evaluation = measure(found, setting)
    (one,) = evaluation.pairs
    _, strangers = scores_of(found)
    assert [point.false_matches for point in one.in_force] == [
        int((strangers >= 0.5).sum()),
        int((strangers >= 0.9).sum()),
    ]
    assert len(default_warnings(evaluation)) == 1
    rates = next(r for r in evaluation.identification[0].at if r.source == "in_force" and r.fmr == 1e-2)
    assert rates.fpir_at_gallery is not None
    assert rates.fpir_at_gallery.value == pytest.approx(1 - (1 - rates.fpir.value) ** (1000 / 39))
    wrong = [m for m in evaluation.mistakes if m.wrong]
    assert {m.kind for m in wrong} <= {"missed"} | ({"false_match"} if (strangers >= 0.9).any() else set())
    assert all(m.score < 0.9 for m in wrong if m.kind == "missed")
    worst = [m.score for m in evaluation.mistakes if m.kind == "false_match"]
    assert worst[0] == pytest.approx(strangers.max(), abs=1e-6)
    assert worst == sorted(worst, reverse=True)


def test_a_pair_of_conditions_is_what_the_service_saw() -> None:
    people = People(12).add(Role.REFERENCE, VIS).add(Role.PROBE, NIR_MASKED, each=2).add(Role.PROBE, NIR)
    pairs = {str(one.pair): one.coverage.probes for one in measure(people.made, SETTING).pairs}
    assert pairs == {"vis-unmasked/nir-unmasked": 12, "vis-unmasked/nir-masked": 24}


def test_broken_files_count_nowhere_and_lost_ones_are_named() -> None:
    people = People(12).add(Role.REFERENCE, VIS).add(Role.PROBE, NIR_MASKED)
    people.lose(Role.PROBE, 1, "undecodable_image").lose(Role.REFERENCE, 2)
    evaluation = measure(people.made, SETTING)
    references, probes = evaluation.acquisition
    assert (references.attempts, references.failed, references.subjects_lost) == (13, 1, 0)
    assert (probes.attempts, probes.failed, probes.broken) == (12, 0, 1)
    assert {(one.code, one.broken) for one in evaluation.lost} == {
        ("undecodable_image", True),
        ("no_face", False),
    }


def test_a_probe_that_is_a_reference_measures_nothing_and_is_left_out() -> None:
    found = usual(12, each=1)
    copy = Described(found[-1].photo, found[0].digest, found[0].found)
    kept = without_repeats([*found[:-1], copy])
    evaluation = measure(kept, SETTING)
    assert [one.code for one in evaluation.lost] == ["same_picture"]
    assert evaluation.pairs[0].mated == 11


def test_without_templates_there_is_nothing_to_compare() -> None:
    people = People(2).add(Role.REFERENCE, VIS).lose(Role.PROBE, 0)
    with pytest.raises(NothingToCompare, match="no probe"):
        measure(people.made, SETTING)


def test_the_facts_are_json_without_numbers_that_json_lacks() -> None:
    text = json.dumps(as_json(measure(usual(12), SETTING)), allow_nan=False)
    assert '"pair": "vis-unmasked/nir-masked"' in text
