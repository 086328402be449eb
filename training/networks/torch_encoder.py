"""A trained network as a `CropEncoder`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from faces.types import Pixels, Spectrum
from training.data.network_input import network_input
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network
from training.networks.crop_encoder import Vectors
from training.networks.layers import route, unit_rows

ROWS_AT_ONCE = 128


class TorchEncoder:
    """A network in evaluation mode; it resizes its input as `faces.preprocess` does."""

    def __init__(self, net: nn.Module, config: BackboneConfig, *, name: str) -> None:
        self._net, self._config, self._name = net, config, name

    @property
    def name(self) -> str:
        return self._name

    @property
    def alignment(self) -> str:
        return self._config.alignment

    def embed(self, crops: Pixels, spectrum: Spectrum) -> Vectors:
        """uint8 [n, side, side, 3] -> unit float32 [n, dimension]."""
        was = self._net.training
        self._net.eval()
        done = []
        with torch.no_grad(), route(self._net, spectrum):
            for start in range(0, len(crops), ROWS_AT_ONCE):
                images = network_input(crops[start : start + ROWS_AT_ONCE], self._config.side_px)
                done.append(unit_rows(self._net(images)).numpy())
        self._net.train(was)
        return np.concatenate(done).astype(np.float32)


def load_checkpoint_encoder(path: Path) -> TorchEncoder:
    """A checkpoint as an encoder. Raises DataSetError."""
    net, config = load_network(path)
    return TorchEncoder(net, config, name=path.stem)
