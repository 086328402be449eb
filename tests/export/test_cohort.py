"""A cohort is drawn from people who set no threshold, resembles them, and is nobody's template."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.cohort import draw, made_cohort, no_centres
from export.cohort_draw import centred, drawn, rows_of, wanted_rows
from export.cohort_people import UNLABELLED, cohort_people, left_out
from export.kept_templates import SetTemplates
from export.operating_points import LEAST_GROUP, Mated, groups_of, operating_points
from export.prepared_sets import impostors_of, mated_of, plan_of, plans_of
from faces.bundle import file_ref, read, verify
from faces.cohort_spec import CohortSpec
from faces.files import write_array
from faces.rates.tail import Impostors, tail_of
from faces.types import CONDITIONS, PAIRS, Pair, Role
from tests.cohorts import bundle_with_cohort, cohort, people, scores_by_hand
from tests.export.parts import prepared
from training.data.prepared import PreparedSet
from training.networks.onnx_encoders import BundleEncoder

PEOPLE, DRAWS, MOST = 12, 9, 5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return prepared(tmp_path_factory.mktemp("sets") / "people", subjects=PEOPLE)


@pytest.fixture(scope="module")
def templates(made: PreparedSet, bundle_dir: Path) -> SetTemplates:
    found = SetTemplates(BundleEncoder(bundle_dir), made)
    found.embed([(i, role) for i in range(len(made.rows)) for role in Role])
    return found


def spec_for(file: Path, name: str) -> CohortSpec:
    return CohortSpec(
        file=file_ref(file),
        nearest=3,
        weight=1.0,
        centres=no_centres(),
        data="a test",
        drawn_from=name,
        people=MOST,
    )


def test_the_people_of_a_cohort_are_chosen_by_their_names_and_set_no_threshold(
    made: PreparedSet, tmp_path: Path
) -> None:
    chosen = cohort_people(made, MOST)
    assert chosen == cohort_people(made, MOST)
    assert {name: len(found) for name, found in chosen.items()} == {UNLABELLED: MOST}
    write_array(tmp_path / "cohort.npy", np.zeros(3, np.float16))
    spec = spec_for(tmp_path / "cohort.npy", made.info.name)
    out = left_out(made, spec)
    assert out == set(chosen[UNLABELLED])
    assert left_out(made, None) == frozenset()
    assert left_out(made, spec.model_copy(update={"drawn_from": "another set"})) == frozenset()
    for pair in PAIRS:
        (plan,) = plans_of([made], ["validation"], spec)[pair]
        rows = [*plan.references, *(probe.row for probe in plan.probes)]
        compared = {made.rows[i].subject for i in rows}
        assert len(compared) == PEOPLE - MOST
        assert not compared & out


def test_draws_have_mean_and_spread_of_the_people_and_are_nobodys_template(
    made: PreparedSet, templates: SetTemplates, tmp_path: Path
) -> None:
    rows = {"all": rows_of(made, [f"s{i:03d}" for i in range(PEOPLE)])}
    assert {condition: len(found) for condition, found in rows["all"].items()} == dict.fromkeys(
        CONDITIONS, PEOPLE
    )
    assert len(wanted_rows(rows)) == 2 * PEOPLE * len(CONDITIONS)
    found = drawn(rows, templates, draws=400, seed=1)
    assert found.dtype == np.float16
    assert found.shape[:3] == (2, len(CONDITIONS), 400)
    np.testing.assert_array_equal(found, drawn(rows, templates, draws=400, seed=1))
    assert not np.array_equal(found, drawn(rows, templates, draws=400, seed=2))
    for side, role in enumerate((Role.REFERENCE, Role.PROBE)):
        for place, condition in enumerate(CONDITIONS):
            real = templates.templates(rows["all"][condition], role)
            draws = found[side, place].astype(np.float32)
            np.testing.assert_allclose(np.linalg.norm(draws, axis=1), 1.0, atol=2e-3)
            mean = real.mean(axis=0)
            assert float(draws.mean(axis=0) @ mean) > 0.9 * float(mean @ mean)
            assert float((draws @ real.T).max()) < 0.999
    file = tmp_path / "cohort.npy"
    write_array(file, found)
    scale = made_cohort(file, spec_for(file, made.info.name))
    assert {one.pair: one.likeness for one in centred(scale.cohort)} == dict(scale.cohort.centres)
    assert scale.spec.by_pair == scale.cohort.centres
    assert len(set(scale.cohort.centres.values())) > len(PAIRS) / 2


def test_impostors_and_mates_are_scored_by_the_cohort(made: PreparedSet, templates: SetTemplates) -> None:
    dimension = templates.templates([0], Role.REFERENCE).shape[1]
    of = cohort(dimension, lower=1.0)
    for pair in (PAIRS[0], Pair(CONDITIONS[0], CONDITIONS[3]), PAIRS[9]):
        plan = plan_of(made, ["validation"], pair)
        impostors = impostors_of(plan, templates, of)
        by_hand = scores_by_hand(of, pair, impostors.references, impostors.probes)
        blocks = np.concatenate([scores for _, scores in impostors.score_blocks()])
        other = np.ones(by_hand.shape, bool)
        other[np.arange(len(other)), impostors.own] = False
        np.testing.assert_allclose(blocks[other], by_hand[other], atol=1e-5)
        some = impostors.among(np.array([1, 4, 7], np.intp))
        kept = np.isin(impostors.own, [1, 4, 7])
        part = np.concatenate([scores for _, scores in some.score_blocks()])
        expected = by_hand[kept][:, [1, 4, 7]]
        mine = np.ones(part.shape, bool)
        mine[np.arange(len(mine)), some.own] = False
        np.testing.assert_allclose(part[mine], expected[mine], atol=1e-5)
        mated = by_hand[~other][[probe.mated for probe in plan.probes]]
        np.testing.assert_allclose(mated_of(plan, templates, of).scores, mated, atol=1e-5)


def test_people_who_resemble_many_set_no_threshold_for_all_by_a_cohort_of_their_kind() -> None:
    of, count = cohort(32, weight=0.5, nearest=5, lower=0.8), 300
    vectors = people(2 * count, of, seed=4)
    # Those who resemble the cohort most are one group, the others another.
    likeness = of.likeness(vectors, Role.REFERENCE, CONDITIONS[0])
    vectors = vectors[np.argsort(-likeness)]
    groups = ("alike",) * count + ("unlike",) * count
    own = np.arange(2 * count)
    pair = PAIRS[0]
    taken = (of.taken(vectors, Role.PROBE, pair), of.taken(vectors, Role.REFERENCE, pair))
    spreads = []
    for given in (None, taken):
        impostors = Impostors(vectors, vectors, own, groups, given)
        assert groups_of(impostors) == ["alike", "unlike"]
        (point, *_) = operating_points(pair, impostors, Mated(), targets=(1e-2,)).points
        asked = [one.own for one in point.groups]
        spreads.append(max(asked) - min(asked))
        assert tail_of(impostors, loosest=1e-2).accepted(point.threshold) <= 1e-2 * impostors.comparisons
    assert spreads[1] < 0.5 * spreads[0]
    assert count >= LEAST_GROUP


def test_another_cohort_is_drawn_beside_the_one_that_a_bundle_has(
    made: PreparedSet, bundle_dir: Path, tmp_path: Path
) -> None:
    bundle = read(bundle_with_cohort(bundle_dir, tmp_path / "bundle"))
    assert bundle.manifest.calibration is not None
    assert bundle.manifest.calibration.cohort is not None
    former = bundle.manifest.calibration.cohort.file.path
    files = {draw(bundle, made, kept=None, seed=seed).file.path for seed in (1, 1, 2)}
    assert len(files) == 2
    assert former not in files
    verify(bundle)
