"""Measures one encoder on a test split: rank-1 by subject, and VR at FAR, of NIR probes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from faces.rates.rank1 import counts_at_rank
from faces.types import Condition, Spectrum
from training.data.prepared import PreparedSet, Split
from training.evaluation.embedding import embed
from training.evaluation.figures import unsupported
from training.evaluation.pools import Bench, split_pool
from training.evaluation.verification import PairScores
from training.networks.crop_encoder import CropEncoder
from training.research.compare.result import Found, Rate, VrAtFar


def measure(
    encoder: CropEncoder,
    prepared: PreparedSet,
    split: Split,
    *,
    fars: Sequence[float],
    bootstraps: int,
    on_embedded: Callable[[int, int], None] | None = None,
) -> dict[str, Found]:
    """Measures masked, then unmasked NIR probes of a split, as far as the set has them, by condition.

    `on_embedded` takes the crops embedded so far and their number. Raises DataSetError if the split lacks
    references or probes, or if the alignment is not the encoder's.
    """
    pool = split_pool(prepared, split)
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if on_embedded is not None:
            on_embedded(done, len(pool.rows))

    bench = Bench(embed(encoder, prepared, pool.rows, on_done=report), pool)
    found = {}
    for masked in (True, False):
        condition = Condition(Spectrum.NIR, masked)
        if condition in bench.conditions:
            found[str(condition)] = _found(bench, condition, fars, bootstraps)
    return found


def _found(bench: Bench, condition: Condition, fars: Sequence[float], bootstraps: int) -> Found:
    comparison = bench.compare(condition)
    counts = counts_at_rank(comparison)
    subjects = len(np.intersect1d(comparison.probes.subjects, comparison.gallery.subjects))
    points = PairScores(comparison).measure(fars, bootstraps=bootstraps) if fars else ()
    return Found(
        hits=tuple(counts.successes.tolist()),
        probes=tuple(counts.probes.tolist()),
        rank1=round(100 * counts.rate, 4),
        vr=tuple(
            VrAtFar(
                far=one.fmr, vr=Rate(**asdict(one.tar.in_percent())), doubt=unsupported(subjects, one.fmr)
            )
            for one in points
        ),
    )
