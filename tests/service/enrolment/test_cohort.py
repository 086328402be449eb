"""Duplicates and mismatches by a cohort: judged by the scores that the thresholds are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faces.bundle import read
from faces.cohort import Cohort
from faces.masks import MaskReading, MaskState
from faces.types import CONDITIONS, PAIRS, Pair, Spectrum
from service.enrolment.duplicates import SAME_PHOTO, DuplicateCheck, duplicate_threshold
from service.enrolment.mismatch import agreement
from service.enrolment.types import Accepted
from service.gallery.exact import ExactGallery
from service.inference.engine import Engine
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from tests.cohorts import Floats, bundle_with_cohort, people, scores_by_hand
from tests.service.inference.faces import OPTIONS
from tests.service.matching.test_cohort_search import described
from tests.service.store.support import new_sample

PEOPLE = 400
CLEAR = Pair(CONDITIONS[0], CONDITIONS[0])
UNMASKED = MaskReading(MaskState.UNMASKED, False, 0.01)


@pytest.fixture(scope="module")
def engine(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    target = tmp_path_factory.mktemp("bundles") / "with-cohort"
    return Engine.load(read(bundle_with_cohort(bundle_dir, target)), OPTIONS)


def accepted(vector: Floats, index: int) -> Accepted:
    seen = described(vector, spectrum=Spectrum.VIS, mask=UNMASKED)
    return Accepted(f"sample-{index}", "0" * 64, (112, 112), seen, (seen.crop,), index)


async def test_every_subject_whose_score_says_so_is_a_duplicate(db: Database, engine: Engine) -> None:
    manifest, of = engine.manifest, engine.cohort
    assert of is not None
    space = EmbeddingSpace(manifest, engine, ExactGallery(of.dimension))
    enrolled = people(PEOPLE, of, seed=5)
    async with db.write() as uow:
        await uow.spaces.register(manifest.space_id, "made", manifest.encoder.dimension, "ready")
        for i, vector in enumerate(enrolled):
            await uow.subjects.ensure(f"s{i}", None)
            await uow.templates.add(manifest.space_id, await uow.samples.add(new_sample(f"s{i}")), vector)
        await uow.commit()
    await space.follow(db)
    rng = np.random.default_rng(3)
    near = enrolled[::80] + rng.uniform(0.02, 0.06, (len(enrolled[::80]), 1)) * rng.standard_normal(
        (len(enrolled[::80]), of.dimension)
    )
    near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
    near[0] = enrolled[0]
    photos = {i: accepted(vector.copy(), i) for i, vector in enumerate(near)}
    check = DuplicateCheck(db, space, "new", photos, false_positive_rate=1e-3, refuse=False)
    await check.search()
    limit = duplicate_threshold(space.calibration, CLEAR, PEOPLE, 1e-3)
    scores = scores_by_hand(of, CLEAR, enrolled, near)
    expected = (scores >= limit) | (near @ enrolled.T >= SAME_PHOTO)
    assert {(one.index, one.template_id - 1) for one in check.found} == set(
        zip(*np.nonzero(expected), strict=True)
    )
    assert expected[0, 0], "the same photo is a duplicate, whatever its score"
    for one in check.found:
        assert one.score == pytest.approx(scores[one.index, one.template_id - 1], abs=1e-5)


def test_photos_agree_by_the_loosest_pair_of_their_conditions(engine: Engine) -> None:
    of: Cohort | None = engine.cohort
    assert of is not None
    references, probes = people(5, of, seed=1), people(4, of, seed=2)
    limits = {pair: 0.2 + 0.01 * i for i, pair in enumerate(PAIRS)}
    by_hand = np.max([scores_by_hand(of, p, references, probes) - t for p, t in limits.items()], axis=0)
    np.testing.assert_allclose(agreement(of, limits, references, probes), by_hand, atol=1e-5)
    plain = agreement(None, limits, references, probes)
    np.testing.assert_allclose(plain, probes @ references.T - 0.2, atol=1e-6)
