"""Closed-set rank-1 of a split, by the condition of its probes: what training and benchmarks look at."""

from __future__ import annotations

from dataclasses import dataclass

from training.data.prepared import PreparedSet, Split
from training.evaluation.embedding import embed
from training.evaluation.pools import Bench, split_pool
from training.evaluation.rank1 import Hits, per_subject_hits
from training.networks.crop_encoder import CropEncoder


@dataclass(frozen=True, slots=True)
class Found:
    """Rank-1 hits of one condition of probes among the unmasked VIS references."""

    condition: str
    hits: Hits


def closed_set(encoder: CropEncoder, prepared: PreparedSet, split: Split) -> tuple[Found, ...]:
    """Masked NIR probes first; failures stay in the denominators, and whoever's reference failed is never
    found."""
    pool = split_pool(prepared, split)
    bench = Bench(embed(encoder, prepared, pool.rows), pool)
    return tuple(
        Found(str(condition), per_subject_hits(bench.compare(condition))) for condition in bench.conditions
    )
