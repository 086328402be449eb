"""Measures the paper's figures of one encoder: rank-1, and VR at FAR 1 % and .1 %, of NIR probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import numpy as np
from pydantic import Field

from faces.rates.intervals import Interval
from faces.rates.rank1 import counts_at_rank, success_rate
from faces.strict import Strict
from faces.types import Condition, Spectrum
from training.data.prepared import PreparedSet
from training.evaluation.embedding import embed
from training.evaluation.figures import unsupported
from training.evaluation.pools import Bench, split_pool
from training.evaluation.verification import PairScores
from training.networks.crop_encoder import CropEncoder
from training.research.reproduce.published import VR_POINTS, On


class Rate(Strict):
    """A rate in percent with its 95 % subject-bootstrap interval."""

    value: float
    low: float
    high: float


class VrAtFar(Strict):
    """VR at one FAR. `doubt`: why so few subjects cannot support the FAR; the paper prints such figures."""

    far: float
    vr: Rate
    doubt: str | None = None


class Cell(Strict):
    """NIR probes of one condition against the unmasked VIS references."""

    on: On
    masked: bool
    rank1: Rate
    vr: tuple[VrAtFar, ...]
    probes: Annotated[int, Field(gt=0)]
    subjects: int
    failed_probes: int


def measure(
    encoder: CropEncoder,
    prepared: PreparedSet,
    on: On,
    *,
    bootstraps: int,
    on_embedded: Callable[[int, int], None] | None = None,
) -> tuple[Cell, ...]:
    """Measures unmasked, then masked probes of the test split, as far as the set has them.

    `on_embedded` takes the crops embedded so far and their number. Raises DataSetError if the split lacks
    references or probes, or if the alignment is not the encoder's.
    """
    pool = split_pool(prepared, "test")
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if on_embedded is not None:
            on_embedded(done, len(pool.rows))

    bench = Bench(embed(encoder, prepared, pool.rows, on_done=report), pool)
    cells = []
    for masked in (False, True):
        condition = Condition(Spectrum.NIR, masked)
        if condition in bench.conditions:
            cells.append(_cell(bench, condition, on, bootstraps))
    return tuple(cells)


def _cell(bench: Bench, condition: Condition, on: On, bootstraps: int) -> Cell:
    comparison = bench.compare(condition)
    probes, gallery = comparison.probes, comparison.gallery
    subjects = len(np.intersect1d(probes.subjects, gallery.subjects))
    points = PairScores(comparison).measure(VR_POINTS, bootstraps=bootstraps)
    return Cell(
        on=on,
        masked=condition.masked,
        rank1=_percent(success_rate(counts_at_rank(comparison), bootstraps=bootstraps)),
        vr=tuple(
            VrAtFar(far=one.fmr, vr=_percent(one.tar), doubt=unsupported(subjects, one.fmr)) for one in points
        ),
        probes=probes.samples,
        subjects=subjects,
        failed_probes=len(probes.failed),
    )


def _percent(rate: Interval) -> Rate:
    return Rate(**asdict(rate.in_percent()))
