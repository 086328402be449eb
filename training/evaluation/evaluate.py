"""Evaluates an encoder on a split of a prepared set: everything that a report shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.data.prepared import PreparedSet, Row, Split
from training.evaluation.conditions import (
    Asked,
    ConditionFigures,
    SharedThreshold,
    by_condition,
    mask_matrix,
    shared_thresholds,
)
from training.evaluation.embedding import embed
from training.evaluation.masks import MaskMatrix, nist_matrix
from training.evaluation.openset import OpenSetFigures, open_set_figures
from training.evaluation.plots import Curve, cmc_curve, det
from training.evaluation.pools import Bench, split_pool
from training.networks.crop_encoder import CropEncoder


@dataclass(frozen=True, slots=True)
class ConditionOpenSet:
    """Open-set figures of one condition's probes."""

    condition: str
    figures: OpenSetFigures


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that was measured. `synthetic` says what in the compared rows is not real.

    `encoder` and `set_name` contain no path.
    """

    encoder: str
    set_name: str
    split: str
    alignment: str
    made_by: str
    synthetic: tuple[str, ...]
    conditions: tuple[ConditionFigures, ...]
    matrix: tuple[ConditionFigures, ...]
    masks: MaskMatrix | None
    shared: tuple[SharedThreshold, ...]
    open_set: tuple[ConditionOpenSet, ...]
    asked: Asked


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """The curves of the plots, one for each condition."""

    det: tuple[Curve, ...]
    cmc: tuple[Curve, ...]


def evaluate_split(
    encoder: CropEncoder,
    prepared: PreparedSet,
    split: Split,
    *,
    asked: Asked | None = None,
    on_done: Callable[[int], None] | None = None,
) -> tuple[Evaluation, Curves]:
    """Returns figures and curves.

    Raises DataSetError if the split lacks a side or its alignment is not the encoder's, ValueError if a
    photo is on both sides or a probe's subject is not enrolled.
    """
    asked = asked or Asked()
    pool = split_pool(prepared, split)
    bench = Bench(embed(encoder, prepared, pool.rows, on_done=on_done), pool)
    conditions = by_condition(bench, asked)
    shared = shared_thresholds(bench, conditions)
    compared = [(str(c.condition), bench.compare(c.condition, gallery_masked=c.gallery_masked))
                for c in conditions]  # fmt: skip
    evaluation = Evaluation(
        encoder=encoder.name,
        set_name=prepared.info.name,
        split=split,
        alignment=prepared.info.alignment,
        made_by=prepared.info.made_by,
        synthetic=synthetic_parts(prepared, [prepared.rows[int(i)] for i in pool.rows]),
        conditions=conditions,
        matrix=mask_matrix(bench, asked),
        masks=nist_matrix(bench, asked, shared),
        shared=shared,
        open_set=tuple(
            ConditionOpenSet(name, open_set_figures(comparison, bootstraps=asked.bootstraps, seed=asked.seed))
            for name, comparison in compared
            if len(np.intersect1d(comparison.probes.subjects, comparison.gallery.subjects)) >= 4
        ),
        asked=asked,
    )
    curves = Curves(
        tuple(det(name, comparison) for name, comparison in compared),
        tuple(cmc_curve(name, comparison) for name, comparison in compared),
    )
    return evaluation, curves


def synthetic_parts(prepared: PreparedSet, rows: list[Row]) -> tuple[str, ...]:
    """Describes what was generated: the set's own statement, spectra and masks."""
    parts = [prepared.info.synthetic] if prepared.info.synthetic else []
    generators = sorted({row.generator for row in rows if row.generator is not None})
    if generators:
        count = sum(row.generator is not None for row in rows)
        parts.append(f"{count} of {len(rows)} rows come from a generator: {', '.join(generators)}")
    worn = sum(row.mask is not None for row in rows)
    if worn:
        parts.append(f"{worn} of {len(rows)} rows wear a synthetic mask")
    return tuple(parts)
