"""The sampler and the loader of pairs."""

from __future__ import annotations

from collections import deque
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from faces.types import Spectrum
from tests.training.nets import prepared_set
from training.data.pair_loader import GreyPairLoader, PairLoader
from training.data.pairs import PairSampler, QueueError
from training.data.records import DataSetError
from training.data.set_writer import SetWriter
from training.engine.prefetch import prefetch


def test_kept_subjects_are_never_drawn_and_no_pair_shares_a_picture(tmp_path: Path) -> None:
    prepared = prepared_set(tmp_path, subjects=16)
    sampler = PairSampler(prepared, split="train", batch=4, queue=12, p_mask=1.0, seed=1)
    kept: deque[set[int]] = deque(maxlen=2)
    seen: set[int] = set()
    for pairs in islice(sampler.batches(), 100):
        labels = {pair.label for pair in pairs}
        assert len(labels) == 4
        assert not labels & set().union(*kept)
        kept.append(labels)
        seen |= labels
        for pair in pairs:
            nir, vis = prepared.rows[pair.nir], prepared.rows[pair.vis]
            assert nir.subject == vis.subject == sampler.subjects[pair.label].name
            assert nir.source != vis.source
            assert str(nir.condition) == "nir-masked"
            assert str(vis.condition) == "vis-unmasked"
    assert seen == set(range(16))


def test_a_resumed_sampler_continues_the_same_draws(tmp_path: Path) -> None:
    prepared = prepared_set(tmp_path, subjects=16)
    options = {"split": "train", "batch": 4, "queue": 8, "p_mask": 0.5, "seed": 2}
    whole = list(islice(PairSampler(prepared, **options).batches(), 9))  # type: ignore[arg-type]
    rest = list(islice(PairSampler(prepared, **options).batches(5), 4))  # type: ignore[arg-type]
    assert rest == whole[5:]
    masked = [prepared.rows[pair.nir].masked for pairs in whole for pair in pairs]
    assert 0 < sum(masked) < len(masked)


def test_batches_depend_on_seed_and_iteration_alone(tmp_path: Path) -> None:
    prepared = prepared_set(tmp_path, subjects=8)
    sampler = PairSampler(prepared, split="train", batch=4, queue=8, p_mask=1.0, seed=2)
    teacher = np.random.default_rng(0).standard_normal((len(prepared.rows), 5)).astype(np.float32)
    loader = PairLoader(prepared, sampler, side_px=16, teacher=teacher)
    whole = list(islice(prefetch(loader.batches()), 4))
    again = next(iter(loader.batches(3)))
    assert torch.equal(whole[3].nir, again.nir)
    assert torch.equal(whole[3].vis, again.vis)
    assert again.iteration == 3
    assert again.teacher is not None
    assert again.teacher.shape == (4, 5)
    assert float(again.nir.abs().max()) <= 1.0


def test_grey_only_never_learns_from_near_infrared(tmp_path: Path) -> None:
    """Other NIR pixels do not change its batches, which show one grey of the same photo's VIS version."""
    made = prepared_set(tmp_path / "made", subjects=8)
    writer = SetWriter(tmp_path / "dark", made.info)
    for i, row in enumerate(made.rows):
        nir = row.spectrum is Spectrum.NIR
        writer.add(row, np.zeros_like(made.crop(i)) if nir else made.crop(i))
    batches = []
    for prepared in (made, writer.close()):
        sampler = PairSampler(prepared, split="train", batch=4, queue=8, p_mask=0.5, seed=2)
        batches.append(next(iter(GreyPairLoader(prepared, sampler, side_px=16).batches())))
    assert torch.equal(batches[0].nir, batches[1].nir)
    assert torch.equal(batches[0].nir[:, 0], batches[0].nir[:, 2])
    assert float(batches[0].nir.std()) > 0.1


def test_too_few_subjects_and_lone_photos_are_errors(tmp_path: Path) -> None:
    few = prepared_set(tmp_path / "few", subjects=7)
    with pytest.raises(QueueError, match="queue = 4"):
        PairSampler(few, split="train", batch=4, queue=8, p_mask=1.0, seed=0)
    alone = prepared_set(tmp_path / "alone", subjects=4, photos=1)
    with pytest.raises(DataSetError, match="two photos"):
        PairSampler(alone, split="train", batch=2, queue=2, p_mask=1.0, seed=0)
