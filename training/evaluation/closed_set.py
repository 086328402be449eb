"""Measures closed-set rank-1 of a split for each condition of its probes, during training and after it."""

from __future__ import annotations

from dataclasses import dataclass

from faces.rates.rank1 import SubjectCounts, counts_at_rank
from training.data.prepared import PreparedSet, Split
from training.evaluation.embedding import embed
from training.evaluation.pools import Bench, split_pool
from training.networks.crop_encoder import CropEncoder


@dataclass(frozen=True, slots=True)
class ConditionRank1:
    """Rank-1 counts of the probes of one condition against the unmasked VIS references."""

    condition: str
    counts: SubjectCounts


def closed_set(encoder: CropEncoder, prepared: PreparedSet, split: Split) -> tuple[ConditionRank1, ...]:
    """Returns the counts by condition, masked NIR probes first.

    Failures stay in the denominators; a subject whose reference failed is never found.
    """
    pool = split_pool(prepared, split)
    bench = Bench(embed(encoder, prepared, pool.rows), pool)
    return tuple(
        ConditionRank1(str(condition), counts_at_rank(bench.compare(condition)))
        for condition in bench.conditions
    )
