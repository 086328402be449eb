"""Compiling networks, in place: what is saved and exported knows nothing of it."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch
from torch import nn

from training.engine.task import Task
from training.networks.shared_encoder import SharedEncoder


class CompilerError(ValueError):
    """Networks shall be compiled, and there is nothing to do it with."""


def check_compiler() -> None:
    """Raises CompilerError without a C++ compiler: torch would say so at the first step, in fifty lines."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise CompilerError("compiling needs a C++ compiler: install g++, or leave out --compiled")


def compile_networks(*nets: nn.Module, backend: str = "inductor") -> None:
    """Compile for batches of one size alone: whoever embeds others meanwhile does it under
    `torch.compiler.set_stance("force_eager")`. What was compiled before in this process is made anew.

    `backend`: of torch.compile. Raises CompilerError where the usual one has no compiler.
    """
    if backend == "inductor":
        check_compiler()
    # Graphs of earlier runs in this process would count towards the limit of compilations.
    torch._dynamo.reset()
    for net in nets:
        net.compile(dynamic=False, backend=backend)


def compile_task(task: Task[Any], *, backend: str = "inductor") -> None:
    """`compile_networks` of the backbone, without the matrix that IDR and W-CNN put behind it, and of HSST's
    and SST's gallery-net."""
    encoder = task.encoder
    net = encoder.backbone if isinstance(encoder, SharedEncoder) else encoder
    galleries = [part for name, part in task.named_modules() if name.endswith("gallery")]
    compile_networks(net, *galleries, backend=backend)
