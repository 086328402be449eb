"""The converters give, to the byte, the networks that this project measured with."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.training.networks.lite import Lite
from tests.training.networks.representation import write_representation
from training.networks.convert.lite_onnx import lite_to_onnx
from training.networks.convert.openvino import read_representation
from training.networks.convert.openvino_onnx import representation_to_onnx
from training.networks.convert.tflite import read_lite
from training.networks.graph import GraphError
from training.views.public_tools import MASK_NAME, TRUNK_NAME


def small_embedder() -> onnx.ModelProto:
    """A scale, a convolution, a depthwise one, a squeeze and a residual, as the zoo's embedder has them."""
    rng = np.random.default_rng(7)

    def half(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.normal(0, 0.3, shape).astype(np.float16).astype(np.float32)

    stored = {
        "n1w": half(3, 1, 1), "n1b": half(3, 1, 1), "n2w": half(8, 3, 3, 3), "n2b": half(8),
        "n3w": half(1, 1, 1), "n4w": half(8, 1, 3, 3), "n4b": half(8), "n6w": half(8, 8, 1, 1),
        "n6b": half(8), "n10w": half(8, 8, 8, 8),
    }  # fmt: skip

    def conv(number: int, source: int, *, step: int = 1, border: int = 0, group: int = 1) -> onnx.NodeProto:
        names = [f"n{source}", f"n{number}w", *([f"n{number}b"] if f"n{number}b" in stored else [])]
        return helper.make_node(
            "Conv", names, [f"n{number}"], dilations=[1, 1], group=group, pads=[border] * 4,
            kernel_shape=list(stored[f"n{number}w"].shape[2:]), strides=[step, step],
        )  # fmt: skip

    nodes = [
        helper.make_node("Mul", ["n0", "n1w"], ["n1m"]),
        helper.make_node("Add", ["n1m", "n1b"], ["n1"]),
        conv(2, 1, step=2, border=1),
        helper.make_node("PRelu", ["n2", "n3w"], ["n3"]),
        conv(4, 3, border=1, group=8),
        helper.make_node(
            "AveragePool", ["n4"], ["n5"], ceil_mode=0, kernel_shape=[8, 8], pads=[0] * 4, strides=[8, 8]
        ),
        conv(6, 5),
        helper.make_node("Sigmoid", ["n6"], ["n7"]),
        helper.make_node("Mul", ["n4", "n7"], ["n8"]),
        helper.make_node("Add", ["n3", "n8"], ["n9"]),
        conv(10, 9),
        helper.make_node("Flatten", ["n10"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "ir",
        [helper.make_tensor_value_info("n0", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 8])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model


def converted(description: Path, weights: Path) -> bytes:
    return bytes(representation_to_onnx(read_representation(description, weights)).SerializeToString())


def test_a_representation_becomes_the_network_it_was_written_from(tmp_path: Path) -> None:
    model = small_embedder()
    assert converted(*write_representation(model, tmp_path)) == model.SerializeToString()
    images = np.random.default_rng(1).normal(size=(3, 3, 16, 16)).astype(np.float32)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"n0": images})[0].shape == (3, 8)


def test_a_representation_that_is_not_understood_is_named(tmp_path: Path) -> None:
    description, weights = write_representation(small_embedder(), tmp_path)
    text = description.read_text()
    for before, after, words in (
        ('version="10"', 'version="7"', "version 7"),
        ('type="Sigmoid"', 'type="Gelu"', "Gelu, which is not known"),
        ('rounding_type="floor"', 'rounding_type="ceil"', "a pool with a border"),
        ('auto_pad="explicit"', 'auto_pad="same_upper"', "does not state its padding"),
        ("<edges>", "<edges><!--", "net.xml cannot be read"),
    ):
        description.write_text(text.replace(before, after))
        with pytest.raises(GraphError, match=words):
            converted(description, weights)
    description.write_text(text)
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(GraphError, match="ends early"):
        converted(description, weights)
    net = ElementTree.fromstring(text)  # noqa: S314
    edges = net.find("edges")
    assert edges is not None
    edges.remove(edges[0])
    description.write_bytes(ElementTree.tostring(net))
    with pytest.raises((GraphError, ValueError)):
        converted(description, weights)


@pytest.mark.realdata
def test_the_trunk_is_converted_to_the_byte(shared: Path, tmp_path: Path) -> None:
    """The zoo's own files were not at hand: these are written from the ONNX file, as its converter writes."""
    content = (shared / "models" / TRUNK_NAME).read_bytes()
    description, weights = write_representation(onnx.load_from_string(content), tmp_path)
    # As many bytes as the zoo states for its weights.
    assert weights.stat().st_size == 2213724
    assert converted(description, weights) == content


@pytest.mark.realdata
def test_the_mask_classifier_is_converted_to_the_byte(shared: Path) -> None:
    """Its own file was not at hand either: this one is written from the ONNX file."""
    content = (shared / "models" / MASK_NAME).read_bytes()
    lite = Lite.of_detector(onnx.load_from_string(content))
    assert lite_to_onnx(read_lite(lite.content())).SerializeToString() == content


def test_what_is_no_tensorflow_lite_file_is_refused() -> None:
    for content in (b"", b"\0\0\0\0TFL3", b"PK\3\4" + bytes(40), b"\x10\0\0\0TFL3" + bytes(8)):
        with pytest.raises(GraphError, match="TensorFlow Lite"):
            read_lite(content)
