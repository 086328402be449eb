"""Defines the verifier's network: does the middle of a crop show a face?"""

from __future__ import annotations

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from faces.files import write_whole
from faces.strict import Strict
from training.data.records import DataSetError
from training.detector.network import Block, DetectorNet, Unit
from training.networks.layers import initialise

CHECKPOINT = "verifier.pt"
Channels = Annotated[int, Field(ge=4)]


class VerifierConfig(Strict):
    """`times`: a crop shows so many times the longer side of a detection, on `input_px` squared.

    Channels: `stem`, `quarter`, `eighth` at strides 2, 4 and 8, as of the detector, and `deep` at 16.
    """

    times: Annotated[float, Field(ge=1, le=3)] = 2.5
    input_px: Annotated[int, Field(ge=32, multiple_of=16)] = 80
    stem: Channels = 16
    quarter: Channels = 24
    eighth: Channels = 48
    deep: Channels = 64


class VerifierNet(nn.Module):
    """[b, 3, side, side] in [-1, 1] -> [b, 1]: the logit that the middle shows a face.

    The last layer keeps the places of its features, because the face, if there is one, is in the middle.
    """

    def __init__(self, config: VerifierConfig, *, dropped: float = 0.0) -> None:
        super().__init__()
        c, cells = config, (config.input_px // 16) ** 2
        self.quarter = nn.Sequential(
            Block(3, c.stem, stride=2), Block(c.stem, c.quarter, stride=2), Block(c.quarter, c.quarter)
        )
        self.eighth = nn.Sequential(Block(c.quarter, c.eighth, stride=2), Unit(c.eighth))
        self.deep = Block(c.eighth, c.deep, stride=2)
        self.dropout = nn.Dropout(dropped)
        self.value = nn.Linear(c.deep * cells, 1)
        initialise(self)
        nn.init.normal_(self.value.weight, std=0.01)
        nn.init.zeros_(self.value.bias)

    def forward(self, x: Tensor) -> Tensor:
        features = self.deep(self.eighth(self.quarter(x)))
        logit: Tensor = self.value(self.dropout(features.flatten(1)))
        return logit

    def start_from(self, detector: DetectorNet) -> None:
        """Takes the first layers of a detector, which know what faces are made of.

        Raises DataSetError if the detector has other channels.
        """
        try:
            self.quarter.load_state_dict(detector.quarter.state_dict())
            self.eighth.load_state_dict(detector.stages[0].state_dict())
        except RuntimeError as error:
            raise DataSetError("the detector to start from has other channels than the verifier") from error


def save_verifier(path: Path, net: VerifierNet, config: VerifierConfig) -> None:
    """Writes the network with its configuration, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({"verifier": config.model_dump(), "state": net.state_dict()}, buffer)
    write_whole(path, buffer.getvalue())


def load_verifier(path: Path) -> tuple[VerifierNet, VerifierConfig]:
    """Returns the network in evaluation mode. Raises DataSetError if the file is no verifier."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        config = VerifierConfig.model_validate(held["verifier"])
        net = VerifierNet(config)
        net.load_state_dict(held["state"])
    except (OSError, RuntimeError, KeyError, TypeError, UnpicklingError, ValidationError) as error:
        raise DataSetError(f"{path.name} is no checkpoint of a verifier: {type(error).__name__}") from error
    return net.eval(), config
