"""Checkpoints of an encoder alone: configuration and weights."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from faces.files import write_whole
from training.data.records import DataSetError
from training.networks.backbone import BackboneConfig
from training.networks.layers import norms

HISTORY = "history"


def save_encoder(
    path: Path, net: nn.Module, config: BackboneConfig, *, history: Mapping[str, Any] | None = None
) -> None:
    """Writes what inference needs, configuration and weights, atomically.

    `history`: what the network was pre-trained with, as JSON; it stays with the file wherever that goes.
    """
    split = any(layer.split for layer in norms(net))
    buffer = io.BytesIO()
    final = config.model_copy(update={"split": split})
    stored = {"config": final.model_dump(), "weights": net.state_dict()}
    torch.save(stored if history is None else {**stored, HISTORY: dict(history)}, buffer)
    write_whole(path, buffer.getvalue())


def load_network(path: Path) -> tuple[nn.Module, BackboneConfig]:
    """The network of a checkpoint. Raises DataSetError if `save_encoder` did not write the file."""
    try:
        stored = _stored(path)
        config = BackboneConfig.model_validate(stored["config"])
        net = config.build()
        net.load_state_dict(stored["weights"])
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, UnpicklingError) as error:
        raise DataSetError(f"{path.name} is no encoder's checkpoint: {type(error).__name__}") from error
    return net, config


def read_history(path: Path) -> dict[str, Any] | None:
    """What the network of a checkpoint was pre-trained with; None if the file does not say.

    Raises DataSetError if `save_encoder` did not write the file.
    """
    try:
        found = _stored(path).get(HISTORY)
    except (OSError, EOFError, RuntimeError, ValueError, UnpicklingError) as error:
        raise DataSetError(f"{path.name} is no encoder's checkpoint: {type(error).__name__}") from error
    return None if found is None else dict(found)


def _stored(path: Path) -> dict[str, Any]:
    stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return stored


def load_start(path: Path) -> tuple[nn.Module, BackboneConfig]:
    """A network that training can start from. Raises DataSetError if it ends in a shared subspace."""
    net, config = load_network(path)
    if config.shared is not None:
        raise DataSetError(f"{path.name} ends in a shared subspace: start from a plain backbone")
    return net, config
