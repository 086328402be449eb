"""Collective operations of several processes; with one process each is the identity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def running() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if running() else 0


def world_size() -> int:
    return dist.get_world_size() if running() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Gathers rows [b, ...] of every process, in order of rank: [b x processes, ...], without gradient."""
    if world_size() == 1:
        return rows.detach()
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    dist.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)
