"""Compiling the networks of a task, in place: what is saved and exported knows nothing of it."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch

from training.tasks.base import Task
from training.tasks.invariant import SharedEncoder
from training.train.processes import DeviceError


def compile_networks(task: Task[Any], *, backend: str = "inductor") -> None:
    """The backbone, without the matrix that IDR and W-CNN put behind it, and HSST's and SST's gallery-net.

    `backend`: of torch.compile; the usual one needs a C++ compiler. Batches of one size alone: whoever embeds
    others meanwhile does it under `torch.compiler.set_stance("force_eager")`. Raises DeviceError without a
    compiler: torch would say so at the first step, in fifty lines.
    """
    if backend == "inductor" and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise DeviceError("compiling needs a C++ compiler: install g++, or leave out --compiled")
    # Graphs of earlier runs in this process would count towards the limit of compilations.
    torch._dynamo.reset()
    encoder = task.encoder
    net = encoder.backbone if isinstance(encoder, SharedEncoder) else encoder
    net.compile(dynamic=False, backend=backend)
    for name, part in task.named_modules():
        if name.endswith("gallery"):
            part.compile(dynamic=False, backend=backend)
