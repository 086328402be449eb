"""Scores relative to a cohort: what they are, what bounds them, and what a bundle says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faces.bundle import BundleError, open_cohort, parse_manifest, read, verify
from faces.cohort import Cohort, load_cohort, scores_of
from faces.files import write_array
from faces.types import CONDITIONS, PAIRS, Condition, Pair, Role, Spectrum
from tests.cohorts import bundle_with_cohort, cohort, members, people, scores_by_hand, spec_of

DIMENSION = 32
VIS, NIR_MASKED = CONDITIONS[0], Condition(Spectrum.NIR, masked=True)


def test_a_score_is_the_cosine_less_what_both_sides_resemble_strangers() -> None:
    of = cohort(DIMENSION)
    references, probes = people(6, of, seed=1), people(5, of, seed=2)
    for pair in PAIRS:
        found = of.scores(pair, references, probes)
        np.testing.assert_allclose(found, scores_by_hand(of, pair, references, probes), atol=1e-5)


def test_a_template_is_scored_by_the_cohort_of_the_other_side_in_its_condition() -> None:
    of = cohort(DIMENSION)
    templates = people(4, of)
    for role, other in ((Role.REFERENCE, Role.PROBE), (Role.PROBE, Role.REFERENCE)):
        strangers = of.strangers(other, NIR_MASKED)
        by_hand = np.sort(templates @ strangers.T, axis=1)[:, -of.nearest :].mean(axis=1)
        np.testing.assert_allclose(of.likeness(templates, role, NIR_MASKED), by_hand, atol=1e-6)


def test_what_is_taken_from_each_side_makes_the_score() -> None:
    of = cohort(DIMENSION)
    (reference,), (probe,) = people(1, of, seed=3), people(1, of, seed=4)
    for pair in PAIRS:
        taken = of.taken_by_other(reference, Role.REFERENCE, pair.reference)[pair.probe]
        taken += of.taken_by_other(probe, Role.PROBE, pair.probe)[pair.reference]
        score = of.scores(pair, reference[None], probe[None])[0, 0]
        assert score == pytest.approx(float(reference @ probe) - taken, abs=1e-5)


def test_strangers_of_the_cohort_itself_keep_their_cosines_on_average() -> None:
    of = cohort(DIMENSION)
    for pair in PAIRS:
        references = of.strangers(Role.REFERENCE, pair.reference)
        probes = of.strangers(Role.PROBE, pair.probe)
        difference = of.scores(pair, references, probes) - probes @ references.T
        assert abs(float(difference.mean())) < 1e-3


def test_scores_stay_between_minus_one_and_one() -> None:
    rows = members(DIMENSION)
    for centre, expected in ((2.0, 1.0), (-2.0, -1.0)):
        of = Cohort(rows.copy(), 3, 2.0, dict.fromkeys(PAIRS, centre))
        one = people(1, of)
        assert of.scores(PAIRS[0], one, one)[0, 0] == expected


def test_references_of_several_conditions_and_plain_cosines() -> None:
    of = cohort(DIMENSION)
    references, probes = people(5, of, seed=1), people(3, of, seed=2)
    conditions = [CONDITIONS[i] for i in (0, 3, 1, 0, 2)]
    found = scores_of(of, references, conditions, probes, NIR_MASKED)
    for j, condition in enumerate(conditions):
        alone = of.scores(Pair(condition, NIR_MASKED), references[j : j + 1], probes)
        np.testing.assert_allclose(found[:, j], alone[:, 0], atol=1e-6)
    plain = scores_of(None, references, conditions, probes, NIR_MASKED)
    np.testing.assert_allclose(plain, probes @ references.T, atol=1e-6)


def test_no_reference_scores_more_than_its_cosine_with_the_query_allows() -> None:
    of = cohort(DIMENSION)
    references, probes = people(40, of, seed=1), people(8, of, seed=2)
    for condition in CONDITIONS:
        queries = of.queries(probes, condition)
        np.testing.assert_allclose(np.linalg.norm(queries.vectors, axis=1), 1.0, atol=1e-5)
        cosines = queries.vectors @ references.T
        for reference in CONDITIONS:
            scores = of.scores(Pair(reference, condition), references, probes)
            for i in range(len(probes)):
                one = of.queries(probes[i : i + 1], condition)
                bounds = np.array(
                    [one.most(reference, cosines[i, j : j + 1]) for j in range(len(references))]
                )
                assert (scores[i] <= bounds).all()
    # The bound is reached where a reference has the same nearest members as the probe.
    (alike,) = people(1, of, seed=9)
    # With lower centres the score of a template with itself is not cut off at 1.
    of = Cohort(of.members, of.nearest, of.weight, {p: centre - 1.0 for p, centre in of.centres.items()})
    pair, one = Pair(VIS, NIR_MASKED), of.queries(alike[None], NIR_MASKED)
    most = one.most(VIS, (one.vectors @ alike[:, None])[:, 0])
    assert most == pytest.approx(float(of.scores(pair, alike[None], alike[None])[0, 0]), abs=1e-4)


@pytest.mark.parametrize("fault", ["float64", "three conditions", "no unit", "nan", "nearest", "centre"])
def test_a_cohort_checks_itself(fault: str) -> None:
    rows, nearest, centres = members(DIMENSION), 5, dict.fromkeys(PAIRS, 0.0)
    if fault == "float64":
        rows = rows.astype(np.float64)
    elif fault == "three conditions":
        rows = rows[:, :3]
    elif fault == "no unit":
        rows[0, 0, 0] *= 1.1
    elif fault == "nan":
        rows[1, 2, 3, 4] = np.nan
    elif fault == "nearest":
        nearest = rows.shape[2] + 1
    else:
        del centres[PAIRS[7]]
    with pytest.raises(ValueError):
        Cohort(rows, nearest, 1.0, centres)


def test_a_cohort_is_read_as_it_was_stored(tmp_path: Path) -> None:
    made, file = cohort(DIMENSION), tmp_path / "cohort.npy"
    write_array(file, made.members.astype(np.float16))
    found = load_cohort(file, spec_of(file, made))
    np.testing.assert_allclose(found.members, made.members, atol=1e-3)
    assert (found.nearest, found.weight, dict(found.centres)) == (7, 0.8, dict(made.centres))
    write_array(file, made.members)
    with pytest.raises(ValueError, match="float16"):
        load_cohort(file, spec_of(file, made))
    write_array(file, (2 * made.members).astype(np.float16))
    with pytest.raises(ValueError, match="unit norm"):
        load_cohort(file, spec_of(file, made))


def test_a_bundle_names_its_cohort_and_its_thresholds_mean_nothing_without_it(
    bundle_dir: Path, tmp_path: Path
) -> None:
    plain, changed = read(bundle_dir), read(bundle_with_cohort(bundle_dir, tmp_path / "with"))
    verify(changed)
    before, now = plain.manifest, changed.manifest
    assert before.calibration is not None
    assert now.calibration is not None
    assert now.space_id == before.space_id, "templates are the same"
    assert now.calibration.id != before.calibration.id
    assert open_cohort(plain) is None
    assert before.calibration.cohort_id is None
    found = open_cohort(changed)
    assert found is not None
    assert found.dimension == now.encoder.dimension
    assert now.calibration.cohort is not None
    assert now.calibration.cohort.file in now.files
    other = now.calibration.cohort.model_copy(update={"weight": 0.9})
    assert other.id != now.calibration.cohort_id
    # Whoever knows of no cohorts reads a bundle without one, and refuses one with it.
    assert b'"cohort"' not in (bundle_dir / "manifest.json").read_bytes()
    assert b'"cohort"' in (changed.root / "manifest.json").read_bytes()


def test_a_cohort_that_is_missing_or_does_not_fit_is_refused(bundle_dir: Path, tmp_path: Path) -> None:
    changed = read(bundle_with_cohort(bundle_dir, tmp_path / "with"))
    small = cohort(DIMENSION)
    write_array(changed.root / "cohort.npy", small.members.astype(np.float16))
    with pytest.raises(BundleError, match="dimensions"):
        open_cohort(changed)
    with pytest.raises(BundleError, match=r"cohort\.npy"):
        verify(changed)
    (changed.root / "cohort.npy").unlink()
    with pytest.raises(BundleError, match=r"cohort\.npy is no cohort"):
        open_cohort(changed)
    text = (changed.root / "manifest.json").read_text()
    with pytest.raises(BundleError, match="centre"):
        parse_manifest(text.replace('"likeness"', '"likeness_of"', 1).replace('"centres"', '"centre"'))


def test_ids_of_tables_without_a_cohort_stay_as_they_were() -> None:
    # The id that this bundle's table had before there were cohorts.
    manifest = read(Path(__file__).parents[2] / "models/halflight-1").manifest
    assert manifest.calibration is not None
    assert manifest.calibration.id == "cal-66345e2b39e8df1f"
