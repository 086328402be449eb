"""Which photos make a batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.nets import prepared_set
from training.data.pair_loader import PairLoader
from training.data.pairs import PairSampler, QueueError
from training.data.records import DataSetError
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


def test_an_error_in_the_thread_reaches_the_reader() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise DataSetError("a shard is gone")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(DataSetError, match="shard"):
        next(items)


def test_stopping_early_leaves_no_thread_behind() -> None:
    made: list[int] = []

    def endless() -> Iterator[int]:
        for number in count():
            time.sleep(0.05)
            made.append(number)
            yield number

    def broken() -> Iterator[int]:
        yield from range(3)
        raise ValueError("nobody reads this any more")

    for items in (prefetch(endless(), depth=2), prefetch(broken(), depth=1)):
        before = threading.active_count()
        assert next(iter(items)) == 0
        assert threading.active_count() == before + 1
        items.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before
    done = len(made)
    time.sleep(0.2)
    assert len(made) == done


def test_too_few_subjects_and_lone_photos_are_errors(tmp_path: Path) -> None:
    few = prepared_set(tmp_path / "few", subjects=7)
    with pytest.raises(QueueError, match="queue = 4"):
        PairSampler(few, split="train", batch=4, queue=8, p_mask=1.0, seed=0)
    alone = prepared_set(tmp_path / "alone", subjects=4, photos=1)
    with pytest.raises(DataSetError, match="two photos"):
        PairSampler(alone, split="train", batch=2, queue=2, p_mask=1.0, seed=0)
