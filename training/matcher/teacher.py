"""Computes the frozen trunk's templates of every training photo without a mask: the anchors of a run."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from faces.files import write_array
from training.matcher.frames import crop_of
from training.matcher.store import Store
from training.matcher.views import trunk_input
from training.networks.imported import ImportedNet
from training.networks.layers import unit_rows
from training.networks.teacher import cached

Floats = NDArray[np.float32]

FILE, PART = "teacher.npy", 2048
AT_ONCE = 64


def as_trunk(net: ImportedNet, pixels: torch.Tensor) -> torch.Tensor:
    """[n, 3, h, w] of 0 to 255, blue-green-red, at the trunk's own size -> [n, d], not of unit norm."""
    return net.trunk(net.normalised(pixels))


def templates(
    net: ImportedNet, crops: NDArray[np.uint8], *, bf16: bool = False, mirrored: bool = True
) -> Floats:
    """Unit templates float32 [n, d] of crops uint8 [n, 112, 112, 3]; `mirrored`: of each crop and its mirror
    image."""
    config = net.config
    columns = config.columns or (0, crops.shape[2])
    done = []
    cast = torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext()
    with torch.inference_mode(), cast:
        for start in range(0, len(crops), AT_ONCE):
            part = crops[start : start + AT_ONCE]
            shown = np.concatenate([part, part[:, :, ::-1]]) if mirrored else part
            pixels = torch.from_numpy(trunk_input(shown, columns, config.input_px))
            rows = unit_rows(as_trunk(net, pixels.contiguous(memory_format=torch.channels_last)))
            done.append(unit_rows(rows.view(-1, len(part), rows.shape[1]).sum(0)).numpy())
    return np.concatenate(done) if done else np.zeros((0, config.width), np.float32)


def teach(store: Store, net: ImportedNet, folder: Path, *, bf16: bool) -> Floats:
    """Templates [photos, d] of the cache, zeros for photos that are no references or outside of training.

    Kept in `folder`, part by part, so that a killed run goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return cached(folder / FILE, len(store.photos), lambda: _taught(store, net, folder, bf16=bf16))


def _taught(store: Store, net: ImportedNet, folder: Path, *, bf16: bool) -> Floats:
    wanted = [i for i, row in enumerate(store.photos) if row.part == "train" and row.reference]
    net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = np.zeros((len(store.photos), net.config.width), np.float32)
    for start in track(range(0, len(wanted), PART), "the trunk's templates"):
        rows = wanted[start : start + PART]
        kept = folder / f"teacher-{start:06d}.npy"
        if not kept.is_file() or len(np.load(kept, mmap_mode="r")) != len(rows):
            crops = np.stack([crop_of(store.frames[i]) for i in rows])
            write_array(kept, templates(net, crops, bf16=bf16))
        found[rows] = np.load(kept)
    return found
