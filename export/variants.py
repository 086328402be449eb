"""Makes smaller versions of an exported network: half precision, and eight-bit integers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from export.graph import INPUT, ExportError, check, quiet

Variant = Literal["fp32", "fp16-weights", "fp16", "int8"]
# These compute in single precision, on a CPU in the layout of its convolutions.
SINGLE: tuple[Variant, ...] = ("fp32", "fp16-weights")
# The smallest cosine with torch that is accepted for any crop.
LEAST_COSINE: dict[Variant, float] = {"fp32": 0.9999, "fp16-weights": 0.9999, "fp16": 0.999, "int8": 0.999}
Tensors = NDArray[np.float32]

QUANTISED = ["Conv", "Gemm", "Add"]
# Ranges are clipped at this percentile: the largest value would lose more to outliers.
PERCENTILE, BINS = 99.999, 4096
# Memory holds every tensor of so many crops at once.
CROPS_AT_ONCE = 8
LEAST_CROPS = 32
# Smaller weights would save less than their cast costs.
LEAST_HALVED = 1024


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """One batch."""

    def __init__(self, batch: Tensors) -> None:
        self._waiting: Iterator[dict[str, Tensors]] = iter([{INPUT: batch}])

    def get_next(self) -> dict[str, Tensors] | None:
        return next(self._waiting, None)


def to_fp16(source: Path, target: Path) -> None:
    """Converts to fp16, with float32 inputs and outputs. Slower than fp32 on most CPUs."""
    with quiet():
        model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    _finish(model, target)


def to_half_weights(source: Path, target: Path) -> None:
    """Stores weights in fp16, with casts that ONNX Runtime folds when it loads the file.

    The network computes in fp32 as before, and its file has half the size. Weights that fp16 cannot hold, and
    small ones, stay as they are.
    """
    model = onnx.load(source)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < LEAST_HALVED or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name, stored = tensor.name, f"{tensor.name}_fp16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    check(model)
    target.write_bytes(model.SerializeToString(deterministic=True))


def to_int8(source: Path, target: Path, calibration: Tensors) -> None:
    """Quantises to static int8 as quantise-dequantise pairs, weights per channel.

    `calibration`: float32 [n, 3, h, w], inputs like those that the network will see; they fix the range of
    every tensor. Raises ExportError if there are fewer than `LEAST_CROPS`.
    """
    if len(calibration) < LEAST_CROPS:
        raise ExportError(f"int8 needs {LEAST_CROPS} crops to fix its ranges, and has {len(calibration)}")
    with tempfile.TemporaryDirectory() as scratch, quiet():
        ready = Path(scratch) / "ready.onnx"
        # Its symbolic shape inference fails on graphs that torch's dynamo exporter makes.
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        calibrator = create_calibrator(
            str(ready),
            QUANTISED,
            augmented_model_path=str(Path(scratch) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"percentile": PERCENTILE, "num_bins": BINS},
        )
        for start in range(0, len(calibration), CROPS_AT_ONCE):
            calibrator.collect_data(_Reader(calibration[start : start + CROPS_AT_ONCE]))
        quantiser = QDQQuantizer(
            onnx.load(ready),
            True,  # per channel
            False,  # not in seven bits
            QuantType.QInt8,
            QuantType.QUInt8,
            calibrator.compute_data(),
            None,
            [],
            QUANTISED,
            {},
        )
        quantiser.quantize_model()
    _finish(quantiser.model.model, target)


def _finish(model: ModelProto, target: Path) -> None:
    """Sorts, checks and writes the model. Raises ExportError if ONNX's checker refuses it."""
    wrapped = OnnxModel(model)
    # Both converters put what they add at the end, where ONNX allows no input to come from.
    wrapped.topological_sort(is_deterministic=True)
    check(wrapped.model)
    target.write_bytes(wrapped.model.SerializeToString(deterministic=True))
