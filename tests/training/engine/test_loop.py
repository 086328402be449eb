"""The loop: schedules, checkpoints that survive a kill, bit-equal resumption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.nets import DIMENSION, pair_batch, tiny_net
from training.data.batches import PairBatch
from training.engine.loop import LAST, LOG, Diverged, LoopConfig, Training
from training.methods.hsst import Hsst, HsstConfig


def batches(start: int) -> Iterator[PairBatch]:
    iteration = start
    while True:
        first = 4 * iteration % 16
        yield pair_batch(iteration, list(range(first, first + 4)))
        iteration += 1


def training(out: Path, **options: object) -> Training:
    task = Hsst(tiny_net(), HsstConfig(queue=8, ema=0.9), dimension=DIMENSION, batch=4, seed=0)
    config = LoopConfig.model_validate(
        {"iterations": 12, "lr": 0.05, "save_every": 1, "log_every": 1, **options}
    )
    return Training(task, config, out=out)


def test_the_papers_steps_and_the_cosine() -> None:
    steps = LoopConfig(iterations=10_000)
    assert [steps.factor(i) for i in (0, 5_999, 6_000, 7_999, 8_000)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    cosine = LoopConfig(iterations=100, schedule="cosine", warmup=10)
    assert cosine.factor(0) == pytest.approx(0.1)
    assert cosine.factor(50) == pytest.approx(0.5, abs=1e-6)


def test_a_run_in_two_halves_is_bit_equal_to_one(tmp_path: Path) -> None:
    whole = training(tmp_path / "whole")
    whole.run(batches(0))
    half = training(tmp_path / "halves")
    half.run(b for b, _ in zip(batches(0), range(7), strict=False))
    rest = training(tmp_path / "halves")
    assert rest.resume()
    assert rest.iteration == 7
    rest.run(batches(7))
    for (name, a), b in zip(whole.task.state_dict().items(), rest.task.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    lines = [json.loads(line) for line in (tmp_path / "halves" / LOG).read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(1, 13))
    assert {"loss", "nir_to_vis", "vis_to_nir"} <= lines[0].keys()


def test_a_killed_run_leaves_a_checkpoint_that_resumes(tmp_path: Path) -> None:
    """SIGKILL at an arbitrary moment, while a checkpoint is written after every step."""
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.training.engine.test_loop import batches, training\n"
        "training(Path(sys.argv[1]), iterations=100000).run(batches(0))"
    )
    running = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=dict(os.environ))
    end = time.monotonic() + 60
    while not (tmp_path / LAST).is_file() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.37)
    running.send_signal(signal.SIGKILL)
    running.wait()
    again = training(tmp_path, iterations=100_000)
    assert again.resume()
    reached = again.iteration
    assert reached > 0
    again.run(b for b, _ in zip(batches(reached), range(2), strict=False))
    assert again.iteration == reached + 2


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    broken = training(tmp_path)
    torch.nn.init.constant_(next(broken.task.encoder.parameters()), float("nan"))
    with pytest.raises(Diverged, match="smaller lr"):
        broken.run(batches(0))
