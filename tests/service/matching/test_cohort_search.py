"""Identification by a cohort: what it finds is what comparing with everybody finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product, starmap
from pathlib import Path

import numpy as np
import pytest

from faces.bundle import read
from faces.cohort import Cohort
from faces.masks import MaskReading, MaskState
from faces.types import CONDITIONS, PAIRS, AlignedCrop, Box, Condition, Embedding, Face, Pair, Role, Spectrum
from service.gallery.exact import ExactGallery
from service.inference.engine import Description, Engine
from service.inference.quality import Pose, Quality
from service.matching.judging import Judge, Judgement
from service.matching.rules import Options, Rules
from service.matching.searching import best_subjects
from service.spaces.space import EmbeddingSpace
from service.store.database import Database
from tests.cohorts import Floats, bundle_with_cohort, people, scores_by_hand
from tests.service.inference.faces import OPTIONS
from tests.service.matching.test_rules import CLEAR, EVERY
from tests.service.store.support import new_sample

PEOPLE, PROBES, TOP = 700, 6, 5
FACE = Face(Box(0, 0, 80, 80), ((20.0, 30.0),) * 5, 0.9)
QUALITY = Quality(50, (), 40.0, 1.0, 0.5, Pose(0.0, 0.0))


@pytest.fixture(scope="module")
def engine(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    target = tmp_path_factory.mktemp("bundles") / "with-cohort"
    return Engine.load(read(bundle_with_cohort(bundle_dir, target)), OPTIONS)


def described(*vectors: Floats, spectrum: Spectrum, mask: MaskReading, space_id: str = "s") -> Description:
    crop = AlignedCrop(np.full((112, 112, 3), 127, np.uint8), "arcface-112", 40.0, spectrum)
    embeddings = tuple(Embedding(one.copy(), space_id, Role.PROBE) for one in vectors)
    return Description(FACE, crop, embeddings, mask, QUALITY)


MASKED = MaskReading(MaskState.MASKED, True, 0.99)
UNCERTAIN = MaskReading(MaskState.UNCERTAIN, False, 0.4)


def strictest(
    of: Cohort, rules: Rules, seen: Description, conditions: Sequence[Sequence[Condition]], templates: Floats
) -> list[Judgement]:
    """Every template judged by every pair of conditions that it may be of."""
    vectors = np.stack([one.vector for one in seen.embeddings])
    scores = {pair: scores_by_hand(of, pair, templates, vectors) for pair in PAIRS}
    found = []
    for i, references in enumerate(conditions):
        pairs = list(starmap(Pair, product(references, seen.possible_conditions)))
        each = []
        for p in pairs:
            cosine = float(vectors[scores[p][:, i].argmax()] @ templates[i])
            each.append(Judgement(float(scores[p][:, i].max()), rules.rule([p.reference], [p.probe]), cosine))
        found.append(min(each, key=lambda one: -9.0 if one.margin is None else one.margin))
    return found


@pytest.mark.parametrize("mask", [MASKED, UNCERTAIN])
async def test_whoever_could_be_accepted_is_found_and_the_first_is_the_best_of_all(
    db: Database, engine: Engine, mask: MaskReading
) -> None:
    manifest, of = engine.manifest, engine.cohort
    assert of is not None
    space = EmbeddingSpace(manifest, engine, ExactGallery(of.dimension))
    vectors, conditions, names = people(PEOPLE, of, seed=5), {}, {}
    async with db.write() as uow:
        await uow.spaces.register(manifest.space_id, "made", manifest.encoder.dimension, "ready")
        for i, vector in enumerate(vectors):
            # Two templates of some.
            names[i] = f"s{i - i % 7 // 6}"
            condition = CONDITIONS[i % len(CONDITIONS)]
            await uow.subjects.ensure(names[i], None)
            sample = replace(new_sample(names[i]), spectrum=condition.spectrum, masked=condition.masked)
            template_id = await uow.templates.add(manifest.space_id, await uow.samples.add(sample), vector)
            conditions[i] = condition
            space.gallery.add(np.array([template_id], np.int64), vector[None])
        await uow.commit()
    # Probes that resemble somebody enrolled, by little and by much.
    rng, chosen = np.random.default_rng(8), np.arange(PROBES) * 97
    probes = vectors[chosen] + np.linspace(0.2, 1.6, PROBES)[:, None] * rng.standard_normal(
        (PROBES, of.dimension)
    ) / np.sqrt(of.dimension)
    probes = (probes / np.linalg.norm(probes, axis=1, keepdims=True)).astype(np.float32)
    seen_matches = 0
    for threshold in (None, 0.1, 0.35):
        rules = Rules.of(EVERY, Options(threshold=threshold, fmr=None), comparisons=PEOPLE)
        for i in range(PROBES):
            twice = mask is UNCERTAIN
            both = [probes[i], probes[(i + 1) % PROBES]] if twice else [probes[i]]
            seen = described(*both, spectrum=Spectrum.VIS, mask=mask)
            everybody: dict[str, Judgement] = {}
            by_hand = strictest(of, rules, seen, [[conditions[j]] for j in range(PEOPLE)], vectors)
            for j, one in enumerate(by_hand):
                known = everybody.get(names[j])
                if known is None or one.order > known.order:
                    everybody[names[j]] = one
            accepted = [one for one in everybody.values() if one.accepted]
            seen_matches += len(accepted)
            found = await best_subjects(db, space, Judge(rules, of, seen), seen, rules, TOP)
            assert len(found) == TOP
            best = sorted((one.order for one in everybody.values()), reverse=True)
            # Scores are cut off at 1, so that two may be equal.
            assert found[0][1].order == pytest.approx(best[0], abs=1e-5)
            assert sum(one.accepted for _, one in found) == min(TOP, len(accepted))
            for place, (owner, one) in enumerate(found):
                assert one.score == pytest.approx(everybody[owner.subject_id].score, abs=1e-5)
                assert one.rule == everybody[owner.subject_id].rule
                if one.score < 1 - 1e-5:
                    assert one.cosine == pytest.approx(everybody[owner.subject_id].cosine, abs=1e-5)
                if one.accepted:
                    assert one.order == pytest.approx(best[place], abs=1e-5)
    assert seen_matches > PROBES


def test_a_pair_without_a_threshold_is_the_strictest(engine: Engine) -> None:
    of = engine.cohort
    assert of is not None
    rules = Rules.of(CLEAR, Options(), comparisons=1)
    (template,) = people(1, of, seed=3)
    seen = described(template, spectrum=Spectrum.VIS, mask=UNCERTAIN)
    (found,) = Judge(rules, of, seen).judge(template[None], [CONDITIONS[1:2]])
    assert found.rule.threshold is None
    assert not found.accepted
    # Of two possible conditions of a reference, one is not calibrated.
    (found,) = Judge(rules, of, seen).judge(template[None], [CONDITIONS[:2]])
    assert found.rule.threshold is None
    (found,) = Judge(rules, of, seen).judge(template[None], [CONDITIONS[:1]])
    (expected,) = strictest(of, rules, seen, [CONDITIONS[:1]], template[None])
    assert found.rule == expected.rule
    assert found.score == pytest.approx(expected.score, abs=1e-5)
    assert found.cosine == pytest.approx(1.0, abs=1e-5)


def test_without_a_cohort_a_score_is_the_cosine(engine: Engine) -> None:
    of = engine.cohort
    assert of is not None
    rules = Rules.of(EVERY, Options(), comparisons=1)
    reference, first, second = people(3, of, seed=4)
    seen = described(first, second, spectrum=Spectrum.VIS, mask=UNCERTAIN)
    judge = Judge(rules, None, seen)
    (found,) = judge.judge(reference[None], [CONDITIONS[:1]])
    assert found.score == pytest.approx(max(float(reference @ first), float(reference @ second)), abs=1e-6)
    assert found.cosine == found.score
    assert found.rule == rules.rule(CONDITIONS[:1], seen.possible_conditions)
    assert judge.queries() is None
