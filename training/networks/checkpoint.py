"""Checkpoints of an encoder alone: configuration and weights."""

from __future__ import annotations

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from faces.files import write_whole
from training.data.records import DataSetError
from training.networks.backbone import BackboneConfig
from training.networks.layers import norms


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
