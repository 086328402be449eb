"""Real exports of a tiny network: parity in every precision, and an error with its figure if it fails."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from export.graph import ExportError, export_graph
from export.parity import compare, ms_per_crop, torch_vectors
from export.variants import LEAST_CROPS, to_fp16, to_int8
from faces.parity import cosines
from faces.preprocess import unit_rows
from faces.types import Role, Spectrum
from tests.conftest import REPO
from tests.export.parts import SHALLOW, crop, tiny_net
from training.data.network_input import network_input
from training.networks.mirrored import Mirrored
from training.networks.onnx_runner import BatchRunner

Tensors = NDArray[np.float32]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return tiny_net(SHALLOW)


@pytest.fixture(scope="module")
def whole(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported network."""
    path = tmp_path_factory.mktemp("graph") / "encoder.onnx"
    export_graph(net, path, side_px=SHALLOW.side_px, role=Role.PROBE)
    return path


@pytest.fixture(scope="module")
def inputs() -> Tensors:
    crops = [crop(s, 0, spectrum, masked=bool(s % 3)) for s in range(24) for spectrum in Spectrum]
    tensors: Tensors = network_input(np.stack(crops), SHALLOW.side_px).numpy()
    return tensors


@pytest.fixture(scope="module")
def expected(net: nn.Module, inputs: Tensors) -> Tensors:
    return torch_vectors(net, inputs, Role.PROBE)


@pytest.mark.parametrize("batch", [1, 3, 48])
def test_the_file_agrees_with_torch_at_every_batch_size(
    whole: Path, inputs: Tensors, expected: Tensors, batch: int
) -> None:
    found = BatchRunner(whole).run(inputs[:batch], batch=batch)
    np.testing.assert_allclose(found, expected[:batch], rtol=1e-3, atol=1e-4)
    parity = compare(whole, expected, inputs, role=Role.PROBE, variant="fp32", least=0.9999)
    assert parity.minimum > 0.99999
    assert cosines(expected, np.roll(expected, 1, axis=0)).min() < 0.9, "the crops are not told apart"


def test_the_file_holds_no_path_of_the_machine_and_no_trace_of_torch(whole: Path) -> None:
    data = whole.read_bytes()
    for part in (str(REPO).encode(), b".py", b"stack_trace", b"training.networks"):
        assert part not in data
    model = onnx.load(whole)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert not model.metadata_props


def test_a_tampered_file_fails_parity_with_the_number(
    whole: Path, inputs: Tensors, expected: Tensors, tmp_path: Path
) -> None:
    model = onnx.load(whole)
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(weights)
    rng = np.random.default_rng(0)
    changed = values + 0.05 * values.std() * rng.standard_normal(values.shape).astype(np.float32)
    weights.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), weights.name))
    tampered = tmp_path / "tampered.onnx"
    onnx.save(model, tampered)
    with pytest.raises(ExportError, match="parity with torch fails") as refused:
        compare(tampered, expected, inputs, role=Role.PROBE, variant="fp32", least=0.9999)
    said = re.search(r"is (0\.\d+)", str(refused.value))
    assert said is not None
    least = cosines(BatchRunner(tampered).run(inputs), expected).min()
    assert float(said.group(1)) == pytest.approx(float(least), abs=1e-6)


def test_half_precision_is_smaller_and_within_its_bound(
    whole: Path, inputs: Tensors, expected: Tensors, tmp_path: Path
) -> None:
    path = tmp_path / "fp16.onnx"
    to_fp16(whole, path)
    assert compare(path, expected, inputs, role=Role.PROBE, variant="fp16", least=0.999).minimum < 1
    assert path.stat().st_size < 0.75 * whole.stat().st_size
    types = {tensor.data_type for tensor in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert onnx.TensorProto.FLOAT not in types


def test_int8_quantises_every_weight_per_channel_and_its_bound_is_kept(
    whole: Path, inputs: Tensors, expected: Tensors, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    to_int8(whole, path, inputs[:LEAST_CROPS])
    parity = compare(path, expected, inputs, role=Role.PROBE, variant="int8", least=0.9)
    assert parity.minimum < 0.9999
    with pytest.raises(ExportError, match=f"{parity.minimum:.6f}.*0.9999 is the least for int8"):
        compare(path, expected, inputs, role=Role.PROBE, variant="int8", least=0.9999)
    graph = onnx.load(path).graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    source = {output: node for node in graph.node for output in node.output}
    kernels = [source[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert len(kernels) > 12
    for kernel in kernels:
        assert kernel.op_type == "DequantizeLinear"
        weights, scales = held[kernel.input[0]], held[kernel.input[1]]
        assert weights.dtype == np.int8
        assert scales.shape == (len(weights),), "one scale for each channel"


def test_int8_needs_crops_to_fix_its_ranges(whole: Path, inputs: Tensors, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"int8 needs {LEAST_CROPS} crops.*has 4"):
        to_int8(whole, tmp_path / "int8.onnx", inputs[:4])


def test_every_file_is_timed_beside_the_others(whole: Path, inputs: Tensors) -> None:
    assert ms_per_crop([whole], inputs)[whole.name] > 0


def test_a_mirrored_network_gives_a_face_and_its_mirror_image_one_template(
    net: nn.Module, inputs: Tensors, expected: Tensors, tmp_path: Path
) -> None:
    path, both = tmp_path / "encoder.onnx", Mirrored(net)
    export_graph(both, path, side_px=SHALLOW.side_px, role=Role.PROBE)
    template = torch_vectors(both, inputs, Role.PROBE)
    assert compare(path, template, inputs, role=Role.PROBE, variant="fp32", least=0.9999).minimum > 0.99999
    mirror_images = np.ascontiguousarray(inputs[:, :, :, ::-1])
    alone = unit_rows(expected) + unit_rows(torch_vectors(net, mirror_images, Role.PROBE))
    np.testing.assert_allclose(template, alone, rtol=1e-4, atol=1e-5)
    for batch in (1, 3):
        seen = BatchRunner(path).run(mirror_images[:batch], batch=batch)
        np.testing.assert_allclose(seen, template[:batch], rtol=1e-3, atol=1e-4)
    assert cosines(expected, template).min() < 0.999, "the crops are their own mirror images"


class BatchMean(nn.Module):
    """A network that cannot be exported for every batch: it has Python ask for values."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(1, 2)) if float(x.sum()) > 0 else x.mean(dim=(1, 3))


def test_a_network_that_torch_cannot_export_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"^torch cannot export this network: \w+$"):
        export_graph(BatchMean(), tmp_path / "x.onnx", side_px=16, role=Role.PROBE)
    assert not list(tmp_path.iterdir())


def test_exporting_leaves_the_network_as_it_was() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8))
    net.train()
    with torch.no_grad():
        torch_vectors(net, np.zeros((2, 3, 16, 16), np.float32), Role.PROBE)
    assert net.training
