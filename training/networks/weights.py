"""Weights by name, from an encoder's checkpoint, a run's checkpoint or an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper
from torch import Tensor, nn

from training.data.records import DataSetError
from training.networks.graph import GraphError
from training.networks.imported import ImportedNet
from training.networks.onnx_graph import read_graph

SHOWN = 20
# The prefix of the encoder in a task's state dict.
ENCODER = "encoder."


def load_weights(net: nn.Module, source: Path) -> None:
    """Loads all weights from a checkpoint of `save_encoder`, a `last.pt`, or an ONNX file with the network's
    names.

    Raises DataSetError listing missing and unexpected weights and those of another shape.
    """
    found = stored_weights(source)
    if isinstance(net, ImportedNet) and source.suffix == ".onnx":
        try:
            net.take(read_graph(source).weights)
        except (GraphError, RuntimeError) as error:
            raise DataSetError(f"{source.name}: {error}") from error
        return
    own = net.state_dict()
    shapes = {
        name: f"{name} {tuple(found[name].shape)} for {tuple(own[name].shape)}"
        for name in own.keys() & found.keys()
        if own[name].shape != found[name].shape
    }
    faults = {
        "missing": sorted(own.keys() - found.keys()),
        "unexpected": sorted(found.keys() - own.keys()),
        "of another shape": [shapes[name] for name in sorted(shapes)],
    }
    said = [f"{kind}: {_listed(names)}" for kind, names in faults.items() if names]
    if said:
        raise DataSetError(f"{source.name} does not fit the network; " + "; ".join(said))
    net.load_state_dict(dict(found))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def stored_weights(source: Path) -> Mapping[str, Tensor]:
    """The weights of a file by name. Raises DataSetError if it holds none."""
    try:
        if source.suffix == ".onnx":
            held = onnx.load(source).graph.initializer
            return {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in held}
        stored: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        if "weights" in stored:
            return dict(stored["weights"])
        return {
            name.removeprefix(ENCODER): value
            for name, value in stored["task"].items()
            if name.startswith(ENCODER)
        }
    except (OSError, EOFError, KeyError, TypeError, RuntimeError, DecodeError, UnpicklingError) as error:
        raise DataSetError(f"{source.name} holds no network's weights: {type(error).__name__}") from error
