"""Two gloo processes give the same result as one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CODE = """
import sys, torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tests.training.nets import DIMENSION, pair_batch, tiny_net
from training.data.batches import PairBatch
from training.methods.hsst import Hsst, HsstConfig
rank, world, address, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
if world > 1:
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{address}", rank=rank, world_size=world)
config = HsstConfig(queue=16, ema=0.9, bn_mode="frozen")
task = Hsst(tiny_net(), config, dimension=DIMENSION, batch=8, seed=0)
step = DistributedDataParallel(task, broadcast_buffers=False) if world > 1 else task
optimiser = torch.optim.SGD(task.groups(0.05), momentum=0.9)
for i in range(4):
    whole = pair_batch(i, list(range(8 * i % 32, 8 * i % 32 + 8)))
    mine = slice(rank * 8 // world, (rank + 1) * 8 // world)
    batch = PairBatch(i, whole.nir[mine], whole.vis[mine], whole.identity[mine])
    outcome = step(batch)
    optimiser.zero_grad()
    outcome.loss.backward()
    optimiser.step()
    task.after_step(batch, outcome)
torch.save(task.state_dict(), f"{out}/{world}-{rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_and_one_agree(tmp_path: Path) -> None:
    """One batch split over two: same queues and weights (normalisation, which is per process, is frozen)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([sys.executable, "-c", CODE, rank, world, port, str(tmp_path)], env=env)
        for rank, world in (("0", "2"), ("1", "2"), ("0", "1"))
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    one, a, b = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("1-0", "2-0", "2-1"))
    for name, value in one.items():
        assert torch.allclose(value.float(), a[name].float(), atol=1e-5), name
        assert torch.equal(a[name], b[name]), name
