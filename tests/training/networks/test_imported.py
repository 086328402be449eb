"""Networks imported from ONNX compute the same as ONNX Runtime, and train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from faces.bundle import EncoderSpec, FileRef, Normalisation
from faces.types import Pixels, Spectrum
from tests.training.nets import DIMENSION, pair_batch, tiny_net
from training.data.network_input import network_input
from training.data.records import DataSetError
from training.engine.loop import LAST, LoopConfig, Training
from training.methods.plain import Plain, PlainConfig
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network, save_encoder
from training.networks.graph import GraphError
from training.networks.imported import ImportedNet, fit_norms
from training.networks.layers import norms, unit_rows
from training.networks.onnx_graph import read_graph
from training.networks.onnx_import import import_bundle, import_onnx
from training.networks.opencv_resize import resized
from training.networks.operators import layer_of
from training.networks.teacher import Teacher
from training.networks.torch_encoder import TorchEncoder
from training.networks.weights import load_weights

Weights = dict[str, Any]
CHANNELS = 4


def one_operator(
    path: Path, op: str, weights: Weights, settings: dict[str, Any], *, first: bool = False
) -> Path:
    """A file with one operator on [batch, 4, 6, 6]. `first`: the weight is the first operand."""
    names = [*weights, "x"] if first else ["x", *weights]
    node = helper.make_node(op, names, ["y"], **settings)
    return write(path, [node], weights, "y")


def write(path: Path, nodes: list[onnx.NodeProto], weights: Weights, output: str, side: int = 6) -> Path:
    channels = 3 if side > 6 else CHANNELS
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", channels, side, side])
    made = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "test", [image], [made], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def floats(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).uniform(0.2, 1.0, shape).astype(np.float32)


CASES: dict[str, tuple[str, Weights, dict[str, Any]]] = {
    "conv": ("Conv", {"w": floats(6, 4, 3, 3), "b": floats(6)}, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "depthwise": ("Conv", {"w": floats(4, 1, 3, 3)}, {"group": 4, "dilations": [2, 2]}),
    "depthwise with a stride": (
        "Conv",
        {"w": floats(4, 1, 3, 3)},
        {"group": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "one pixel with a stride": ("Conv", {"w": floats(6, 4, 1, 1), "b": floats(6)}, {"strides": [2, 3]}),
    "uneven padding": ("Conv", {"w": floats(2, 4, 3, 3)}, {"pads": [0, 1, 1, 2]}),
    "batch norm": (
        "BatchNormalization",
        {name: floats(4, seed=i) for i, name in enumerate(("g", "b", "m", "v"))},
        {"epsilon": 1e-3},
    ),
    "prelu": ("PRelu", {"w": floats(4, 1, 1)}, {}),
    "one slope": ("PRelu", {"w": floats(1, 1, 1)}, {}),
    "relu": ("Relu", {}, {}),
    "leaky": ("LeakyRelu", {}, {"alpha": 0.3}),
    "sigmoid": ("Sigmoid", {}, {}),
    "hard sigmoid": ("HardSigmoid", {}, {"alpha": 0.3, "beta": 0.4}),
    "hard swish": ("HardSwish", {}, {}),
    "clip": ("Clip", {"low": np.float32(-0.5), "high": np.float32(0.5)}, {}),
    "add": ("Add", {"c": floats(4, 1, 1)}, {}),
    "sub": ("Sub", {"c": floats(4, 1, 1)}, {}),
    "mul": ("Mul", {"c": np.float32(3)}, {}),
    "div": ("Div", {"c": floats(4, 1, 1)}, {}),
    "average pool": ("AveragePool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "max pool": ("MaxPool", {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "global pool": ("GlobalAveragePool", {}, {}),
    "mean": ("ReduceMean", {"axes": np.array([2, 3])}, {"keepdims": 0}),
    "flatten": ("Flatten", {}, {}),
    "reshape": ("Reshape", {"shape": np.array([-1, 144])}, {}),
    "reshape of one image": ("Reshape", {"shape": np.array([1, 4, 36])}, {}),
    "identity": ("Identity", {}, {}),
    "dropout": ("Dropout", {"ratio": np.float32(0.5)}, {}),
}


def test_a_depthwise_layer_with_a_stride_stays_in_float32(tmp_path: Path) -> None:
    path = one_operator(tmp_path / "one.onnx", *CASES["depthwise with a stride"])
    layer = layer_of(read_graph(path).graph.nodes[0])
    x = torch.randn(2, CHANNELS, 6, 6, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.float32
        assert torch.nn.Conv2d(CHANNELS, 2, 3)(x).dtype == torch.bfloat16


def run(path: Path, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    made: np.ndarray[Any, Any] = session.run(None, {"x": x})[0]
    return made


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_the_runtime_does(name: str, tmp_path: Path) -> None:
    path = one_operator(tmp_path / "one.onnx", *CASES[name])
    same_as_runtime(path, batch=1 if name == "reshape of one image" else 3)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_the_order_of_operands_is_kept(op: str, tmp_path: Path) -> None:
    same_as_runtime(one_operator(tmp_path / "one.onnx", op, {"c": floats(4, 1, 1)}, {}, first=True))
    twice = helper.make_node(op, ["x", "x"], ["y"])
    same_as_runtime(write(tmp_path / "two.onnx", [twice], {}, "y"))


def test_matrices_load_in_either_orientation(tmp_path: Path) -> None:
    flat = helper.make_node("Flatten", ["x"], ["f"])
    weights = {"w": floats(144, 5), "u": floats(5, 144), "b": floats(1, 5)}
    for node in (
        helper.make_node("Gemm", ["f", "w", "b"], ["y"]),
        helper.make_node("Gemm", ["f", "u"], ["y"], transB=1),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ):
        same_as_runtime(
            write(tmp_path / "m.onnx", [flat, node], {n: weights[n] for n in node.input[1:]}, "y")
        )


def test_parts_are_joined_and_unused_ones_left_out(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("NonZero", ["x"], ["nobody.wants"]),
        helper.make_node("Concat", ["x", "r"], ["y"], axis=1),
    ]
    path = write(tmp_path / "parts.onnx", nodes, {}, "y")
    same_as_runtime(path)
    assert [node.op for node in read_graph(path).graph.nodes] == ["Relu", "Concat"]


def same_as_runtime(path: Path, batch: int = 3) -> None:
    x = np.random.default_rng(1).normal(size=(batch, CHANNELS, 6, 6)).astype(np.float32)
    found = read_graph(path)
    held = {found.graph.input: torch.from_numpy(x)}
    for node in found.graph.nodes:
        layer = layer_of(node).eval()
        own = {k.split(".")[-1]: v for k, v in found.weights.items() if k.split(".")[1] == node.key}
        layer.load_state_dict(own, strict=False)
        held[node.output] = layer(*(held[name] for name in node.inputs))
    want = run(path, x)
    got = held[found.graph.output].detach().numpy()
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize(
    ("op", "weights", "settings", "said"),
    [
        ("Softplus", {}, {}, "operator Softplus"),
        ("Conv", {"w": floats(4, 4, 3, 3)}, {"auto_pad": "SAME_UPPER"}, "SAME_UPPER"),
        ("PRelu", {"w": floats(6)}, {}, "slopes"),
        ("Flatten", {}, {"axis": 0}, "batch"),
        ("Reshape", {"shape": np.array([2, -1])}, {}, "batch"),
        ("ReduceMean", {}, {}, "batch"),
    ],
)
def test_unknown_operators_are_refused_by_name(
    op: str, weights: Weights, settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = one_operator(tmp_path / "odd.onnx", op, weights, settings)
    with pytest.raises(GraphError, match=said):
        for node in read_graph(path).graph.nodes:
            layer_of(node)


@pytest.mark.parametrize("size", [(128, 128), (112, 112), (160, 96), (90, 70)])
def test_pictures_are_resized_as_opencv_does(size: tuple[int, int]) -> None:
    crops = np.random.default_rng(2).integers(0, 256, (3, 112, 96, 3)).astype(np.uint8)
    want = np.stack([cv2.resize(crop, size[::-1], interpolation=cv2.INTER_LINEAR) for crop in crops])
    got = resized(torch.from_numpy(crops).permute(0, 3, 1, 2).float(), *size)
    assert np.array_equal(got.permute(0, 2, 3, 1).numpy().astype(np.uint8), want)


def small(
    path: Path, *, dimension: int | None = None, normed: bool = False
) -> tuple[ImportedNet, BackboneConfig]:
    """A file with BN of its own, red-green-blue, on columns of the crop."""
    rng = np.random.default_rng(3)
    weights = {
        "w": rng.normal(size=(8, 3, 3, 3)).astype(np.float32) / 3,
        **{name: floats(8, seed=i) for i, name in enumerate(("g", "b", "m", "v"))},
        "s": floats(8, 1, 1),
        "p": rng.normal(size=(8, 32)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[4, 4]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
        helper.make_node("PRelu", ["n", "s"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("MatMul", ["f", "p"], ["y"]),
    ]
    write(path, nodes, weights, "y", side=64)
    ref = FileRef(path=path.name, sha256="0" * 64, bytes=1)
    spec = EncoderSpec(
        probe=ref,
        reference=ref,
        alignment="arcface-112",
        columns=(10, 100),
        input_px=(64, 64),
        normalisation=Normalisation(order="rgb", mean=(1.0, 2.0, 3.0), std=(100.0, 110.0, 120.0)),
        dimension=32,
        metric="cosine",
    )
    return import_onnx(path, spec, dimension=dimension, norms=normed)


def crops_of(count: int) -> Pixels:
    rng = np.random.default_rng(4)
    noise = rng.integers(0, 256, (count, 112, 112, 3)).astype(np.uint8)
    noise[::2] = [cv2.GaussianBlur(crop, (0, 0), 3) for crop in noise[::2]]
    return noise


def test_a_checkpoint_holds_the_graph_and_a_wider_head_keeps_cosines(tmp_path: Path) -> None:
    net, config = small(tmp_path / "s.onnx")
    wide, wide_config = small(tmp_path / "s.onnx", dimension=96)
    save_encoder(tmp_path / "wide.pt", wide, wide_config)
    (tmp_path / "s.onnx").unlink()
    again, read = load_network(tmp_path / "wide.pt")
    crops = crops_of(6)
    narrow = TorchEncoder(net, config, name="narrow").embed(crops, Spectrum.VIS)
    stored = TorchEncoder(again, read, name="stored").embed(crops, Spectrum.VIS)
    assert stored.shape == (6, 96)
    np.testing.assert_allclose(stored @ stored.T, narrow @ narrow.T, atol=1e-5)
    with pytest.raises(ValueError, match="at least that"):
        BackboneConfig.model_validate({**config.model_dump(), "dimension": 16}).build()
    with pytest.raises(ValueError, match="imported"):
        BackboneConfig(kind="imported")


def test_imported_batch_norm_keeps_statistics_of_each_spectrum(tmp_path: Path) -> None:
    net, config = small(tmp_path / "s.onnx")
    (norm,) = norms(net)
    assert torch.equal(norm.nir_mean, norm.vis_mean)
    assert bool(norm.vis_mean.any())
    split = config.model_copy(update={"split": True}).build()
    split.load_state_dict(net.state_dict())
    (norm,) = norms(split)
    norm.nir_mean.add_(3)
    encoder, crops = TorchEncoder(split, config, name="split"), crops_of(2)
    assert not np.allclose(encoder.embed(crops, Spectrum.NIR), encoder.embed(crops, Spectrum.VIS), atol=1e-3)


def test_fitted_norms_change_nothing(tmp_path: Path) -> None:
    plain, _ = small(tmp_path / "s.onnx")
    net, _ = small(tmp_path / "s.onnx", normed=True)
    images = network_input(crops_of(16), 112)
    fit_norms(net, [images[:8], images[8:]])
    with torch.no_grad():
        want = plain(images)
        # The file's own normalisation stays as it is.
        net.train().layers.eval()
        assert torch.allclose(net(images), want, atol=1e-3)
        assert torch.allclose(net.eval()(images), want, atol=1e-3)
    assert sum(1 for _ in norms(net)) == 2


def test_weights_load_by_name_or_not_at_all(tmp_path: Path) -> None:
    config = BackboneConfig(side_px=32, dimension=16, width=0.25)
    trained = config.build()
    save_encoder(tmp_path / "e.pt", trained, config)
    other = config.build()
    load_weights(other, tmp_path / "e.pt")
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), other.parameters(), strict=True))
    wider = config.model_copy(update={"dimension": 24}).build()
    before = wider.state_dict()["trunk.0.0.weight"].clone()
    wider.register_buffer("mine", torch.zeros(1))
    first = wider.get_submodule("trunk.0")
    assert isinstance(first, torch.nn.Sequential)
    del first[2]
    with pytest.raises(DataSetError) as caught:
        load_weights(wider, tmp_path / "e.pt")
    said = str(caught.value)
    assert "missing: mine;" in said
    assert "unexpected: trunk.0.2.weight;" in said
    assert "head.2.weight (16, 512) for (24, 512)" in said
    assert torch.equal(wider.state_dict()["trunk.0.0.weight"], before)
    (tmp_path / "no.pt").write_bytes(b"nothing")
    with pytest.raises(DataSetError, match="no network's weights"):
        load_weights(other, tmp_path / "no.pt")


def test_weights_load_from_a_run_and_from_onnx(tmp_path: Path) -> None:
    task = Plain(tiny_net(seed=1), PlainConfig(), dimension=DIMENSION, classes=4)
    training = Training(task, LoopConfig(iterations=1), out=tmp_path)
    training.run([pair_batch(0, [0, 1, 2, 3])])
    net = tiny_net(seed=2)
    load_weights(net, tmp_path / LAST)
    for name, value in task.encoder.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    imported, config = small(tmp_path / "s.onnx")
    blank = config.build()
    load_weights(blank, tmp_path / "s.onnx")
    for name, value in imported.state_dict().items():
        assert torch.equal(blank.state_dict()[name], value), name


@pytest.fixture(scope="module")
def reference(bundle_dir: Path) -> tuple[ImportedNet, BackboneConfig]:
    torch.set_num_threads(1)
    return import_bundle(bundle_dir)


def test_the_reference_embedder_is_equal_in_both(
    bundle_dir: Path, reference: tuple[ImportedNet, BackboneConfig]
) -> None:
    crops = crops_of(8)
    got = TorchEncoder(*reference, name="imported").embed(crops, Spectrum.VIS)
    assert np.abs(got - Teacher(bundle_dir).embed(crops)).max() < 1e-5


def test_the_reference_embedder_trains_and_starts_at_the_teacher(
    bundle_dir: Path, reference: tuple[ImportedNet, BackboneConfig]
) -> None:
    net, config = import_bundle(bundle_dir, dimension=512)
    images = network_input(crops_of(4), config.side_px)
    with torch.no_grad():
        rows, taught = unit_rows(net.eval()(images)), unit_rows(reference[0].eval()(images))
    assert rows.shape == (4, 512)
    assert torch.allclose(rows @ rows.T, taught @ taught.T, atol=1e-5)
    loss = unit_rows(net.train()(images)).matmul(torch.ones(512)).sum()
    torch.autograd.backward(loss)
    learned = [name for name, p in net.named_parameters() if p.grad is not None and bool(p.grad.any())]
    assert len(learned) == len(list(net.parameters()))
