"""Exports a network of this project to an ONNX file that depends on the weights alone."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from faces.types import Role, Spectrum
from training.networks.layers import norms, route

# The newest that both ONNX Runtime 1.31 and its quantiser handle without a conversion.
OPSET = 18
INPUT, OUTPUT = "image", "embedding"
MAX_BATCH = 4096
# Each role uses the statistics of this spectrum if a network keeps some for each (`dsbn`).
SPECTRUM_OF = {Role.PROBE: Spectrum.NIR, Role.REFERENCE: Spectrum.VIS}


class ExportError(Exception):
    """A checkpoint cannot be exported. The text has the reason, with the figure."""


@contextmanager
def quiet() -> Iterator[None]:
    """Suppresses the notices that the exporter and the quantiser print about themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def is_split(net: nn.Module) -> bool:
    """Whether the network keeps statistics for each spectrum, so that each role needs a file of its own."""
    return any(layer.split for layer in norms(net))


def export_graph(net: nn.Module, path: Path, *, side_px: int, role: Role) -> None:
    """Writes the network in evaluation mode: `image` [batch, 3, side, side] -> `embedding` [batch, d].

    The batch is dynamic; the output is not of unit norm, so the caller of the file normalises it
    (`unit_rows`). Raises ExportError if torch cannot export the network or ONNX's checker refuses the file.
    """
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    was = net.training
    net.eval()
    try:
        with route(net, SPECTRUM_OF[role]):
            model = exported(
                net, torch.zeros(2, 3, side_px, side_px), INPUT, [OUTPUT], {0: batch}, name="encoder"
            )
    finally:
        net.train(was)
    path.write_bytes(model.SerializeToString(deterministic=True))


def exported(
    net: nn.Module,
    example: Tensor,
    takes: str,
    gives: Sequence[str],
    dynamic: Mapping[int, Any],
    *,
    name: str,
) -> ModelProto:
    """The graph `name` of a network in evaluation mode. `takes`, `gives`: its input and outputs; `dynamic`:
    the dimensions of the input that are open, by their place.

    Raises ExportError if torch cannot export the network or ONNX's checker refuses it.
    """
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                net,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[takes],
                output_names=list(gives),
                dynamic_shapes=(dict(dynamic),),
            )
    # The exporter raises many kinds, and their texts are pages that name the machine's paths.
    except Exception as error:
        raise ExportError(f"torch cannot export this network: {type(error).__name__}") from error
    if program is None:
        raise ExportError("torch exported nothing")
    model = program.model_proto
    strip(model)
    model.graph.name = name
    check(model)
    return model


def strip(model: ModelProto) -> None:
    """Removes what describes the exporting machine: stack traces with its paths, and torch's notes."""
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.metadata_props[:], model.metadata_props[:]
    graph.doc_string, model.doc_string, graph.name = "", "", "encoder"


def check(model: ModelProto) -> None:
    """Raises ExportError if ONNX's checker refuses the model, or if its batch is fixed."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"ONNX's checker refuses the network: {type(error).__name__}") from error
    for value in (model.graph.input[0], model.graph.output[0]):
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise ExportError(f"the batch of {value.name} is fixed: the network depends on its size")
