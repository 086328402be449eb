"""Exports an encoder for references and one for probes, fused with a third: one space, halved weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from export.activations import spread_prelu
from export.card import CARD_NAME
from export.graph import export_graph
from export.variants import to_half_weights
from faces.bundle import read, verify
from faces.parity import cosines
from faces.types import Role, Spectrum
from service.inference.engine import Engine
from service.inference.parity import check_parity
from service.settings import builtin_bundle
from tests.export.parts import MOBILE, SHALLOW, SIDE_PX, checkpoint, crop, tiny_net
from tests.export.test_bundle import call, refusal
from tests.service.inference.faces import OPTIONS
from training.data.network_input import network_input
from training.networks.onnx_runner import BatchRunner


def inputs(count: int = 9) -> np.ndarray:
    crops = np.stack([crop(i, 0, Spectrum.VIS, masked=bool(i % 2)) for i in range(count)])
    return network_input(crops, SHALLOW.side_px).numpy()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "encoder.onnx"
    export_graph(tiny_net(SHALLOW), path, side_px=SHALLOW.side_px, role=Role.PROBE)
    return path


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_prelu_is_spread_without_a_change_of_the_templates(whole: Path, tmp_path: Path) -> None:
    spread = tmp_path / "spread.onnx"
    spread.write_bytes(whole.read_bytes())
    found = operators(whole).count("PRelu")
    assert spread_prelu(spread) == found > 0
    assert "PRelu" not in operators(spread)
    np.testing.assert_allclose(
        BatchRunner(spread).run(inputs()), BatchRunner(whole).run(inputs()), atol=2e-6, rtol=1e-4
    )


def test_halved_weights_give_the_same_templates_and_are_cast_when_the_file_is_loaded(
    whole: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.onnx"
    to_half_weights(whole, half)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    assert "Cast" in operators(half)
    assert cosines(BatchRunner(half).run(inputs()), BatchRunner(whole).run(inputs())).min() > 0.9999
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ort.InferenceSession(str(half), options, providers=["CPUExecutionProvider"])
    assert "Cast" not in operators(tmp_path / "loaded.onnx")


def test_two_checkpoints_and_a_third_become_one_space_routed_by_condition(tmp_path: Path) -> None:
    probe, reference, second = (tmp_path / f"{name}.pt" for name in ("probe", "reference", "second"))
    for seed, path in enumerate((probe, reference, second)):
        checkpoint(path, SHALLOW, seed=seed)
    out = tmp_path / "pair"
    words = (probe, "--reference", reference, "--fuse", second, "--share", 0.3, "--variant", "fp16-weights")
    said = call(*words, "--base", builtin_bundle(), "--out", out)
    assert "encoder-reference-fp16-weights.onnx" in said
    bundle = read(out)
    verify(bundle)
    encoder = bundle.manifest.encoder
    assert (encoder.routing, encoder.dimension) == ("condition", 2 * SHALLOW.dimension)
    assert encoder.probe.sha256 != encoder.reference.sha256
    replayed = check_parity(bundle, Engine.load(bundle, OPTIONS))
    assert replayed is not None
    assert min(replayed.minimum_cosine.values()) > 0.9999
    card = (out / CARD_NAME).read_text()
    assert "masked and near-infrared probes" in card
    assert "--reference reference.pt --fuse second.pt --share 0.3" in card
    assert str(tmp_path) not in card


def test_networks_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    one, narrow = checkpoint(tmp_path / "one.pt", SHALLOW), tmp_path / "narrow.pt"
    checkpoint(narrow, SHALLOW.model_copy(update={"dimension": 16}))
    base = ("--base", builtin_bundle(), "--out", tmp_path / "out")
    assert "not of one space" in refusal(one, "--reference", narrow, *base)
    assert "mirrored already" in refusal(one, "--fuse", one, "--mirrored", *base)
    large = checkpoint(tmp_path / "large.pt", MOBILE.model_copy(update={"side_px": SIDE_PX}))
    assert "at 112 px" in refusal(one, "--reference", large, *base)
    assert not (tmp_path / "out").exists()
