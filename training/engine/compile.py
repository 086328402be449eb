"""Compiles networks in place; checkpoints and exports do not depend on it."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch
from torch import nn

from training.engine.task import Task
from training.networks.shared_encoder import SharedEncoder


class CompilerError(ValueError):
    """Compilation was asked for, and there is no compiler."""


def check_compiler() -> None:
    """Raises CompilerError if there is no C++ compiler; torch would fail at the first step."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        raise CompilerError("compiling needs a C++ compiler: install g++, or leave out --compiled")


def compile_networks(*nets: nn.Module, backend: str = "inductor") -> None:
    """Compiles networks for batches of one size.

    Code that embeds batches of other sizes runs under `torch.compiler.set_stance("force_eager")`. Networks
    that this process compiled before are compiled again. `backend`: of torch.compile. Raises CompilerError
    if the default backend has no compiler.
    """
    if backend == "inductor":
        check_compiler()
    # Graphs of earlier runs in this process count towards the limit of compilations.
    torch._dynamo.reset()
    for net in nets:
        net.compile(dynamic=False, backend=backend)


def compile_task(task: Task[Any], *, backend: str = "inductor") -> None:
    """Compiles the backbone, without the matrix of IDR and W-CNN behind it, and the gallery-nets of HSST and
    SST."""
    encoder = task.encoder
    net = encoder.backbone if isinstance(encoder, SharedEncoder) else encoder
    galleries = [part for name, part in task.named_modules() if name.endswith("gallery")]
    compile_networks(net, *galleries, backend=backend)
