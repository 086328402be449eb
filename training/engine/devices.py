"""Devices of a run: one process or those of torchrun, on the CPU or on one GPU each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch import distributed as dist

from training.engine.distributed import running


class DeviceError(ValueError):
    """A device that does not exist here."""


def chosen_device(name: str) -> torch.device:
    """The device `cpu`, `cuda` (with torchrun one GPU for each process) or `cuda:N`; never another one.

    Raises DeviceError if it does not exist.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"{name!r} is no device: cpu, cuda or cuda:N") from error
    if device.type == "cpu":
        return device
    if device.type != "cuda" or not torch.cuda.is_available():
        raise DeviceError(f"{name}: there is no such device here; cpu always works")
    local, several = int(os.environ.get("LOCAL_RANK", "0")), _asked_processes() > 1
    if several and device.index is not None:
        raise DeviceError(f"{name} would serve every process: say cuda, and each takes its own")
    index = local if device.index is None else device.index
    if index >= torch.cuda.device_count():
        raise DeviceError(f"cuda:{index} is not there: there are {torch.cuda.device_count()} GPUs")
    return torch.device("cuda", index)


@contextmanager
def processes(name: str) -> Iterator[torch.device]:
    """Gives the device of this process, and joins the process group of torchrun. Raises DeviceError."""
    device = chosen_device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if _asked_processes() == 1:
        yield device
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def _asked_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def barrier() -> None:
    """Waits for the other processes."""
    if running():
        dist.barrier()


class OnDevice(nn.Module):
    """A network on any device, for callers on the CPU: [b, 3, s, s] -> [b, d]."""

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.net, self.device = net, device
        self.train(net.training)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x.to(self.device))
        return y.cpu()
