"""Computes a frozen network's templates of every training photo without a mask: the anchors of a run.

The network is the trunk, or one of this project's own that is fused with it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn

from faces.files import write_array
from training.data.records import DataSetError
from training.matcher.frames import CROP_PX, crop_of
from training.matcher.store import Store
from training.matcher.views import trunk_input
from training.networks.imported import HALF_RANGE, ImportedNet
from training.networks.ir import IrNet
from training.networks.layers import unit_rows
from training.networks.teacher import cached

Floats = NDArray[np.float32]

FILE, PART = "teacher.npy", 2048
AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Input:
    """What a network sees of a 112 px crop, and what it makes: the columns that are cut out, the size [h, w]
    that they are resized to, and the dimension of its template."""

    columns: tuple[int, int]
    size: tuple[int, int]
    dimension: int


def input_of(net: nn.Module) -> Input:
    """Raises DataSetError for a network that `matcher train` cannot train."""
    if isinstance(net, ImportedNet):
        config = net.config
        return Input(config.columns or (0, CROP_PX), config.input_px, config.width)
    if isinstance(net, IrNet) and net.side_px == CROP_PX:
        return Input((0, CROP_PX), (CROP_PX, CROP_PX), net.dimension)
    raise DataSetError("the matcher trains an imported trunk, or a residual network of 112 px, and no other")


def as_trunk(net: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """[n, 3, h, w] of 0 to 255, blue-green-red, at the network's own size -> [n, d], not of unit norm."""
    if isinstance(net, ImportedNet):
        return net.trunk(net.normalised(pixels))
    # With channels last, torch 2.13 writes beyond its buffers in the backward pass of frozen normalisation
    # where the channels are no multiple of 16.
    made: torch.Tensor = net((pixels.contiguous() - HALF_RANGE) / HALF_RANGE)
    return made


def templates(
    net: nn.Module, crops: NDArray[np.uint8], *, bf16: bool = False, mirrored: bool = True
) -> Floats:
    """Unit templates float32 [n, d] of crops uint8 [n, 112, 112, 3]; `mirrored`: of each crop and its mirror
    image."""
    seen = input_of(net)
    done = []
    cast = torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()
    with torch.inference_mode(), cast:
        for start in range(0, len(crops), AT_ONCE):
            part = crops[start : start + AT_ONCE]
            shown = np.concatenate([part, part[:, :, ::-1]]) if mirrored else part
            pixels = torch.from_numpy(trunk_input(shown, seen.columns, seen.size))
            rows = unit_rows(as_trunk(net, pixels.contiguous(memory_format=torch.channels_last)))
            done.append(unit_rows(rows.view(-1, len(part), rows.shape[1]).sum(0)).numpy())
    return np.concatenate(done) if done else np.zeros((0, seen.dimension), np.float32)


def teach(store: Store, net: nn.Module, folder: Path, *, bf16: bool) -> Floats:
    """Templates [photos, d] of the cache, zeros for photos that are no references or outside of training.

    Kept in `folder`, part by part, so that a killed run goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return cached(folder / FILE, len(store.photos), lambda: _taught(store, net, folder, bf16=bf16))


def _taught(store: Store, net: nn.Module, folder: Path, *, bf16: bool) -> Floats:
    wanted = [i for i, row in enumerate(store.photos) if row.part == "train" and row.reference]
    net.eval()
    if isinstance(net, ImportedNet):
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = np.zeros((len(store.photos), input_of(net).dimension), np.float32)
    for start in track(range(0, len(wanted), PART), "templates of references"):
        rows = wanted[start : start + PART]
        kept = folder / f"teacher-{start:06d}.npy"
        if not kept.is_file() or len(np.load(kept, mmap_mode="r")) != len(rows):
            crops = np.stack([crop_of(store.frames[i]) for i in rows])
            write_array(kept, templates(net, crops, bf16=bf16))
        found[rows] = np.load(kept)
    return found
