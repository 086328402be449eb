"""Tests figures of a prepared set by condition, mask and fold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from faces.rates import metrics
from faces.rates.intervals import Interval
from faces.rates.rank1 import counts_at_rank
from faces.types import Condition, Spectrum
from tests.training.evaluation.faces_set import MASKS, BlockEncoder, lost, make_set
from training.data.prepared import PreparedSet, Row
from training.data.records import DataSetError, Fold, Sample
from training.evaluation.conditions import Asked, by_condition, mask_matrix, rates_at, shared_thresholds
from training.evaluation.embedding import embed
from training.evaluation.folds import evaluate_folds
from training.evaluation.masks import MaskMatrix, cell_name, nist_matrix
from training.evaluation.pools import Bench, split_pool
from training.networks.crop_encoder import CropEncoder

QUICK = Asked(bootstraps=20, fmr_points=(0.3,))
MASKED, PLAIN = Condition(Spectrum.NIR, True), Condition(Spectrum.NIR, False)


def bench_of(prepared: PreparedSet) -> Bench:
    pool = split_pool(prepared, "test")
    return Bench(embed(BlockEncoder(), prepared, pool.rows), pool)


def test_each_row_gets_its_own_template_in_batches_of_one_spectrum(tmp_path: Path) -> None:
    prepared = make_set(tmp_path / "set")
    encoder = BlockEncoder()
    counted: list[int] = []
    rows = split_pool(prepared, "test").rows
    found = embed(encoder, prepared, rows[::-1], on_done=counted.append)
    assert sum(counted) == len(rows)
    assert sorted(set(encoder.seen)) == sorted(Spectrum)
    for i in (0, 3, len(rows) - 1):
        own = BlockEncoder().embed(prepared.crops([i]), Spectrum.VIS)
        assert found.templates[found.place[i]] == pytest.approx(own[0])
    partly = embed(encoder, prepared, rows[:2])
    with pytest.raises(ValueError, match="not embedded"):
        partly.side(rows[:3])


def test_another_alignment_is_refused(tmp_path: Path) -> None:
    prepared = make_set(tmp_path / "set", subjects=2)
    encoder = BlockEncoder()
    encoder.alignment = "arcface-144"
    with pytest.raises(DataSetError, match="wants arcface-144"):
        embed(encoder, prepared, np.arange(2))


def test_conditions_are_compared_with_the_unmasked_gallery(tmp_path: Path) -> None:
    bench = bench_of(make_set(tmp_path / "set", noise=35))
    masked, plain = by_condition(bench, QUICK)
    assert (masked.condition, plain.condition) == (MASKED, PLAIN)
    assert not masked.gallery_masked
    assert masked.figures.probes == plain.figures.probes == 24
    assert masked.figures.references == 12
    assert plain.figures.rank1.value > masked.figures.rank1.value
    comparison = bench.compare(PLAIN)
    expected = metrics.rank_k(comparison.scores, comparison.probes.subjects, comparison.gallery.subjects)
    assert plain.figures.rank1.value == pytest.approx(expected)


def test_the_2_by_2_matrix_has_its_four_cells(tmp_path: Path) -> None:
    cells = mask_matrix(bench_of(make_set(tmp_path / "set", noise=35)), QUICK)
    assert [(c.gallery_masked, c.condition.masked) for c in cells] == [
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    ]
    rates = [c.figures.rank1.value for c in cells]
    assert rates[0] > rates[1]
    assert mask_matrix(bench_of(make_set(tmp_path / "half", gallery_masked=False)), QUICK) == ()


def test_failures_count_in_the_condition_they_would_have_been_in(tmp_path: Path) -> None:
    refused = [
        # One photo without a face when masked; its unmasked crop is there.
        lost("s001/nir0.png", Spectrum.NIR, masked=True),
        # Its unmasked crop is there, and another attempt at the same photo failed.
        lost("s006/nir0.png", Spectrum.NIR),
        # A photo of which nothing could be made, noted once: lost in both conditions.
        lost("s002/nir9.png", Spectrum.NIR),
        # Noted in both conditions: counted once in each.
        lost("s003/nir9.png", Spectrum.NIR),
        lost("s003/nir9.png", Spectrum.NIR, masked=True),
        # The VIS photo behind pseudo-NIR probes had no face.
        lost("s004/vis9.png", Spectrum.VIS),
        lost("s005/vis.png", Spectrum.VIS, role="gallery"),
    ]

    def skip(row: Row) -> bool:
        masked_one = row.source == "s001/nir0.png" and row.masked
        return masked_one or row.source == "s005/vis.png"

    bench = bench_of(make_set(tmp_path / "set", noise=1, refused=refused, skip=skip))
    found = {c.condition: c.figures for c in by_condition(bench, QUICK)}
    assert (found[MASKED].probes, found[PLAIN].probes) == (23 + 4, 24 + 4)
    assert found[MASKED].fta == pytest.approx(4 / 27)
    assert found[PLAIN].fta == pytest.approx(4 / 28)
    assert found[PLAIN].fte == pytest.approx(1 / 12)
    counts = counts_at_rank(bench.compare(PLAIN))
    assert counts.probes.tolist() == [2, 2, 3, 3, 3, 2, 3, 2, 2, 2, 2, 2]
    assert counts.successes[5] == 0
    assert counts.successes[2] == 2


def test_a_photo_on_both_sides_is_refused(tmp_path: Path) -> None:
    prepared = make_set(tmp_path / "set", subjects=3)
    rows = tuple(
        r.model_copy(update={"source": "s000/vis.png"}) if r.source == "s000/nir1.png" else r
        for r in prepared.rows
    )
    bench = bench_of(PreparedSet(prepared.root, prepared.info, rows, ()))
    with pytest.raises(ValueError, match=r"one photo: s000/vis\.png"):
        by_condition(bench, QUICK)


def test_one_threshold_keeps_its_fmr_in_every_condition(tmp_path: Path) -> None:
    bench = bench_of(make_set(tmp_path / "set", subjects=30, noise=30))
    conditions = by_condition(bench, Asked(bootstraps=5, fmr_points=(0.2, 0.1, 0.01)))
    points = shared_thresholds(bench, conditions)
    assert [p.fmr for p in points] == [0.2, 0.1]
    for point in points:
        assert point.threshold == max(c.figures.thresholds[point.fmr] for c in conditions)
        assert [r.name for r in point.rates] == ["nir-masked", "nir-unmasked"]
        assert max(r.fmr for r in point.rates) <= point.fmr
        for rates, c in zip(point.rates, conditions, strict=True):
            scores = bench.compare(c.condition)
            assert rates.fmr == metrics.fmr(scores.scores[~scores.mated], point.threshold)
            assert rates.tar == 1 - metrics.fnmr(scores.scores[scores.mated], point.threshold)
    assert shared_thresholds(bench, ()) == ()


def test_rates_at_a_threshold_count_failures_as_missed(tmp_path: Path) -> None:
    refused = [lost("s001/nir9.png", Spectrum.NIR)]
    bench = bench_of(make_set(tmp_path / "set", refused=refused))
    assert rates_at("x", bench.compare(PLAIN), -2.0).tar == pytest.approx(24 / 25)


def test_mask_texts_map_to_cells_of_the_nist_matrix() -> None:
    assert cell_name("drawn round/low/0.33") == "round-low-0.35"
    assert cell_name("wide-high-0.92") == "wide-high-0.92"
    assert cell_name("mesh held-out wide/low/seam/0.70") == "wide-low-0.75"
    assert cell_name("mesh training round/high/N95_v2/0.20") == "round-high-0.15"
    assert cell_name("wide-medium") == "wide-medium"
    assert cell_name("wide-medium-1") == "wide-medium-0.92"
    assert cell_name("KN95_white") == "KN95_white"


def test_the_worst_mask_is_the_one_with_the_lowest_rank_1(tmp_path: Path) -> None:
    bench = bench_of(make_set(tmp_path / "set", subjects=30, noise=30))
    conditions = by_condition(bench, QUICK)
    matrix = nist_matrix(bench, QUICK, shared_thresholds(bench, conditions))
    assert matrix is not None
    assert [c.mask for c in matrix.cells] == sorted(cell_name(m) for m in MASKS)
    assert sum(c.figures.probes for c in matrix.cells) == 60
    total = sum(c.figures.rank1.value * c.figures.probes for c in matrix.cells)
    assert total / 60 == pytest.approx(conditions[0].figures.rank1.value)
    assert matrix.worst.figures.rank1.value == min(c.figures.rank1.value for c in matrix.cells)
    assert [r.name for r in matrix.worst.shared] == ["FMR 0.3"]
    small = replace(matrix.worst, figures=replace(matrix.worst.figures, subjects=29))
    large = replace(small, figures=replace(small.figures, subjects=30, rank1=Interval(1.0, 1.0, 1.0)))
    assert MaskMatrix((small, large)).worst is large
    assert MaskMatrix((small,)).worst is small
    bare = bench_of(make_set(tmp_path / "bare", subjects=4, skip=lambda row: row.mask is not None))
    assert nist_matrix(bare, QUICK) is None


def sample(path: str, spectrum: Spectrum) -> Sample:
    return Sample(PurePosixPath(path), path.split("/")[0], spectrum)


def fold(name: str, subjects: range, photo: int) -> Fold:
    return Fold(
        name,
        (),
        tuple(sample(f"s{i:03d}/vis.png", Spectrum.VIS) for i in subjects),
        tuple(sample(f"s{i:03d}/nir{photo}.png", Spectrum.NIR) for i in subjects),
        digest="abc",
    )


def test_folds_give_mean_and_population_deviation(tmp_path: Path) -> None:
    prepared = make_set(tmp_path / "set", subjects=24, noise=40)
    folds = [fold("1", range(12), 0), fold("2", range(12, 24), 1), fold("3", range(6, 18), 0)]
    trained: dict[str, CropEncoder] = {f.name: BlockEncoder() for f in folds}
    done: list[str] = []
    table = evaluate_folds(
        lambda f: trained[f.name],
        prepared,
        folds,
        asked=QUICK,
        on_embedded=lambda f, count, total: done.append(f.name) if count == total else None,
    )
    assert done == ["1", "2", "3"]
    assert table.folds[0].digest == "abc"
    for i, summary in enumerate(table.conditions):
        values = np.array([f.conditions[i].figures.rank1.value for f in table.folds])
        assert summary.rank1.mean == pytest.approx(np.mean(values))
        assert summary.rank1.std == pytest.approx(np.sqrt(np.mean((values - np.mean(values)) ** 2)))
        assert summary.rank1.folds == 3
    assert len(table.matrix) == 4
    assert table.folds[0].conditions[0].figures.probes == 12
    assert evaluate_folds(BlockEncoder(), prepared, folds, asked=QUICK) == table


def test_a_fold_with_unknown_photos_is_refused(tmp_path: Path) -> None:
    prepared = make_set(tmp_path / "set", subjects=4)
    with pytest.raises(DataSetError, match=r"fold x: s004/vis.png is not in blocks \(2 of 6"):
        evaluate_folds(BlockEncoder(), prepared, [fold("x", range(6), 0)], asked=QUICK)
    with pytest.raises(DataSetError, match="no folds"):
        evaluate_folds(BlockEncoder(), prepared, [])
