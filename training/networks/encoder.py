"""Backbones by configuration, and a trained network as a `CropEncoder`."""

from __future__ import annotations

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from faces.files import write_whole
from faces.strict import Strict
from faces.types import Pixels, Spectrum
from training.data.network_input import network_input
from training.data.records import DataSetError
from training.methods.invariant import SharedEncoder
from training.networks.encoders import Vectors
from training.networks.imported import ImportedConfig, ImportedNet
from training.networks.ir import PLANS, IrNet
from training.networks.layers import norms, route, set_bn_mode, unit_rows
from training.networks.mobilefacenet import MobileFaceNet

ROWS_AT_ONCE = 128


class BackboneConfig(Strict):
    """`shared`: rows of the matrix that IDR and W-CNN put behind the backbone. `split`: statistics for
    each spectrum (`dsbn`). `imported`: what an ONNX file holds, where the kind is that."""

    kind: Literal["mobilefacenet", "ir50", "ir-compact", "ir-small", "imported"] = "mobilefacenet"
    side_px: Annotated[int, Field(ge=32, multiple_of=16)] = 112
    dimension: Annotated[int, Field(ge=8)] = 512
    width: Annotated[float, Field(gt=0, le=4)] = 1.0
    alignment: str = "arcface-112"
    shared: Annotated[int, Field(gt=0)] | None = None
    split: bool = False
    imported: ImportedConfig | None = None

    @model_validator(mode="after")
    def _one_source(self) -> BackboneConfig:
        if (self.kind == "imported") != (self.imported is not None):
            raise ValueError("an imported backbone, and no other, brings the graph of its file")
        return self

    def build(self) -> nn.Module:
        """A network at random weights."""
        net: nn.Module
        if self.imported is not None:
            net = ImportedNet(self.imported, dimension=self.dimension)
        elif self.kind == "mobilefacenet":
            net = MobileFaceNet(side_px=self.side_px, dimension=self.dimension, width=self.width)
        else:
            plan = PLANS[self.kind]
            net = IrNet(plan, side_px=self.side_px, dimension=self.dimension, width=self.width)
        if self.shared is not None:
            net = SharedEncoder(net, torch.zeros(self.shared, self.dimension))
        if self.split:
            set_bn_mode(net, "dsbn")
        return net


class TorchEncoder:
    """A network in evaluation mode. Its input is resized as `faces.preprocess` does it."""

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


def save_encoder(path: Path, net: nn.Module, config: BackboneConfig) -> None:
    """What is used at test time, alone: configuration and weights, written whole."""
    split = any(layer.split for layer in norms(net))
    buffer = io.BytesIO()
    final = config.model_copy(update={"split": split})
    torch.save({"config": final.model_dump(), "weights": net.state_dict()}, buffer)
    write_whole(path, buffer.getvalue())


def load_network(path: Path) -> tuple[nn.Module, BackboneConfig]:
    """Raises DataSetError where the file is no checkpoint of `save_encoder`."""
    try:
        stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        config = BackboneConfig.model_validate(stored["config"])
        net = config.build()
        net.load_state_dict(stored["weights"])
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, UnpicklingError) as error:
        raise DataSetError(f"{path.name} is no encoder's checkpoint: {type(error).__name__}") from error
    return net, config


def load_start(path: Path) -> tuple[nn.Module, BackboneConfig]:
    """A checkpoint that training may begin with. Raises DataSetError where it ends in a shared subspace."""
    net, config = load_network(path)
    if config.shared is not None:
        raise DataSetError(f"{path.name} ends in a shared subspace: start from a plain backbone")
    return net, config


def load_checkpoint_encoder(path: Path) -> TorchEncoder:
    """A checkpoint as an encoder. Raises DataSetError."""
    net, config = load_network(path)
    return TorchEncoder(net, config, name=path.stem)
