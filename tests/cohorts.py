"""Cohorts for tests: random vectors, which are no templates of anybody, alone or in a copy of a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.cohort_draw import centred
from faces.bundle import file_ref, read, write_manifest
from faces.cohort import Cohort
from faces.cohort_spec import Centre, CohortSpec
from faces.files import write_array
from faces.types import CONDITIONS, PAIRS, Pair, Role

Floats = NDArray[np.float32]
MEMBERS, GROUPS = 40, 4


def unit(rows: NDArray[np.floating]) -> Floats:
    found: Floats = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return found


def members(dimension: int, seed: int = 0, count: int = MEMBERS) -> Floats:
    """Unit [2, conditions, count, d]: a few groups of vectors that are alike, as people are."""
    rng = np.random.default_rng(seed)
    groups = 2 * rng.standard_normal((GROUPS, dimension))
    noise = rng.standard_normal((2, len(CONDITIONS), count, dimension))
    return unit(groups[np.arange(count) % GROUPS] + noise)


def cohort(
    dimension: int, *, nearest: int = 7, weight: float = 0.8, seed: int = 0, lower: float = 0.0
) -> Cohort:
    """Vectors that have nothing to do with it resemble nobody of it: with `lower` centres their scores are
    not all cut off at 1."""
    rows = members(dimension, seed)
    bare = Cohort(rows, nearest, weight, dict.fromkeys(PAIRS, 0.0))
    return Cohort(rows.copy(), nearest, weight, {one.pair: one.likeness - lower for one in centred(bare)})


def people(count: int, of: Cohort, seed: int = 1) -> Floats:
    """Unit [count, d]: vectors that resemble the cohort more and less."""
    rng = np.random.default_rng(seed)
    rows = of.strangers(Role.REFERENCE, CONDITIONS[0])[rng.integers(MEMBERS, size=count)]
    share = rng.uniform(0.2, 0.9, (count, 1))
    return unit(share * rows + (1 - share) * unit(rng.standard_normal((count, of.dimension))))


def scores_by_hand(of: Cohort, pair: Pair, references: Floats, probes: Floats) -> NDArray[np.float64]:
    """The scores [probes, references] as the definition says, in float64 and by sorting."""

    def likeness(templates: Floats, strangers: Floats) -> NDArray[np.float64]:
        cosines = np.sort(templates.astype(np.float64) @ strangers.T.astype(np.float64), axis=1)
        found: NDArray[np.float64] = cosines[:, -of.nearest :].sum(axis=1) / of.nearest
        return found

    of_references = likeness(references, of.strangers(Role.PROBE, pair.probe))
    of_probes = likeness(probes, of.strangers(Role.REFERENCE, pair.reference))
    both = of_references[None, :] + of_probes[:, None] - of.centres[pair]
    scores = probes.astype(np.float64) @ references.T.astype(np.float64) - of.weight * both
    return np.clip(scores, -1.0, 1.0)


def spec_of(file: Path, of: Cohort) -> CohortSpec:
    centres = [Centre(reference=p.reference, probe=p.probe, likeness=of.centres[p]) for p in PAIRS]
    return CohortSpec(
        file=file_ref(file),
        nearest=of.nearest,
        weight=of.weight,
        centres=tuple(centres),
        data="random vectors",
        drawn_from="nobody",
        people=2,
    )


def bundle_with_cohort(source: Path, target: Path, *, seed: int = 0, lower: float = 0.0) -> Path:
    """A copy of a bundle, with the same thresholds, whose scores are relative to a cohort."""
    shutil.copytree(source, target)
    manifest = read(target).manifest
    assert manifest.calibration is not None
    made = cohort(manifest.encoder.dimension, seed=seed, lower=lower)
    file = target / "cohort.npy"
    write_array(file, made.members.astype(np.float16))
    calibration = manifest.calibration.model_copy(update={"cohort": spec_of(file, made)})
    write_manifest(manifest.model_copy(update={"calibration": calibration}), target)
    return target
