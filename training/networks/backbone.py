"""Backbones by configuration."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from faces.strict import Strict
from training.networks.imported import ImportedConfig, ImportedNet
from training.networks.ir import PLANS, IrNet
from training.networks.layers import set_bn_mode
from training.networks.mobilefacenet import MobileFaceNet
from training.networks.shared_encoder import SharedEncoder


class BackboneConfig(Strict):
    """`shared`: rows of the matrix that IDR and W-CNN put behind the backbone. `split`: whether each spectrum
    has its own statistics (`dsbn`). `imported`: the content of an ONNX file, if the kind is `imported`."""

    kind: Literal["mobilefacenet", "ir50", "ir100", "ir-compact", "ir-small", "imported"] = "mobilefacenet"
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
        """Builds the network with random weights."""
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
