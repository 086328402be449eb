"""Small real parts for tests of training: a network of three layers and random batches of pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from faces.types import Spectrum
from training.data.batches import PairBatch
from training.data.prepared import PreparedSet, Row, SetInfo
from training.data.set_writer import SetWriter
from training.networks.layers import ConvNorm, SpectralBatchNorm

DIMENSION = 16
SIDE_PX = 16


class TinyNet(nn.Module):
    """[b, 3, 16, 16] -> [b, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(3, 8, kernel=3, stride=2, pad=1),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, DIMENSION),
            SpectralBatchNorm(DIMENSION),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y


def tiny_net(seed: int = 0) -> TinyNet:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return TinyNet()


def pair_batch(iteration: int, ids: list[int], *, teacher: int = 0) -> PairBatch:
    """Pictures that depend on iteration and subject alone."""
    rng = torch.Generator().manual_seed(iteration + 1)
    shape = (len(ids), 3, SIDE_PX, SIDE_PX)
    templates = nn.functional.normalize(torch.randn(len(ids), teacher, generator=rng)) if teacher else None
    return PairBatch(
        iteration,
        torch.randn(shape, generator=rng),
        torch.randn(shape, generator=rng),
        torch.tensor(ids),
        templates,
    )


def prepared_set(root: Path, *, subjects: int, photos: int = 3) -> PreparedSet:
    """Every photo in four conditions, so that pairing one with itself would be easy."""
    writer = SetWriter(root, SetInfo(name="tiny", alignment="arcface-112", side_px=SIDE_PX, made_by="a test"))
    rng = np.random.default_rng(0)
    for subject in range(subjects):
        for photo in range(photos):
            for spectrum in Spectrum:
                for masked in (False, True):
                    row = Row(
                        source=f"s{subject}/{photo}.png",
                        subject=f"s{subject:03d}",
                        spectrum=spectrum,
                        masked=masked,
                        split="train",
                    )
                    writer.add(row, rng.integers(0, 255, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8))
    return writer.close()
