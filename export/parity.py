"""Compares the vectors of an exported file with torch's: no bundle is made without this check."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.graph import SPECTRUM_OF, ExportError
from export.variants import Variant
from faces.parity import cosines
from faces.types import Role
from training.networks.layers import route
from training.networks.onnx_runner import BatchRunner

Tensors = NDArray[np.float32]
ROWS_AT_ONCE = 32
ROUNDS, TIMED_BATCH = 9, 8


@dataclass(frozen=True, slots=True)
class Parity:
    """The smallest and the mean cosine between a file's and torch's vectors of `crops` crops."""

    role: Role
    variant: Variant
    file: str
    crops: int
    minimum: float
    mean: float


def torch_vectors(net: nn.Module, inputs: Tensors, role: Role) -> Tensors:
    """Runs torch in evaluation mode: float32 [n, 3, s, s] -> float32 [n, d], not of unit norm."""
    was = net.training
    net.eval()
    with torch.no_grad(), route(net, SPECTRUM_OF[role]):
        parts = (inputs[start : start + ROWS_AT_ONCE] for start in range(0, len(inputs), ROWS_AT_ONCE))
        rows = [net(torch.from_numpy(part)).numpy() for part in parts]
    net.train(was)
    return np.concatenate(rows).astype(np.float32)


def compare(
    file: Path, expected: Tensors, inputs: Tensors, *, role: Role, variant: Variant, least: float
) -> Parity:
    """Compares ONNX Runtime's vectors on the CPU with `expected` [n, d].

    Raises ExportError if a cosine is below `least`.
    """
    found = cosines(BatchRunner(file).run(inputs), expected)
    parity = Parity(role, variant, file.name, len(inputs), float(found.min()), float(found.mean()))
    if parity.minimum < least:
        raise ExportError(
            f"{file.name}: parity with torch fails: the smallest cosine over {len(inputs)} crops is"
            f" {parity.minimum:.6f} (mean {parity.mean:.6f}), and {least:g} is the least for {variant}"
        )
    return parity


def ms_per_crop(files: Sequence[Path], inputs: Tensors) -> Mapping[str, float]:
    """Returns each file's milliseconds for a crop, in batches of up to 8 on one thread: medians of rounds.

    All files are timed in the same rounds, because a machine's speed changes from minute to minute.
    """
    batch = inputs[:TIMED_BATCH]
    runners = {file.name: BatchRunner(file, threads=1) for file in files}
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for lap in range(ROUNDS + 1):
        for name, runner in runners.items():
            start = time.perf_counter()
            runner.run(batch)
            if lap:  # the first one warms up
                taken[name].append((time.perf_counter() - start) * 1e3 / len(batch))
    return {name: float(np.median(values)) for name, values in taken.items()}
