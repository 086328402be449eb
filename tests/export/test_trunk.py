"""A network in ArcFace's conventions becomes a bundle, and a bundle is adapted: own IR-50 and IR-100."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import typer
from onnx import TensorProto, helper
from typer.testing import CliRunner

from export.graph import export_graph
from export.trunk_matcher import main
from faces.bundle import BundleError, read, verify
from faces.parity import cosines, read_parity
from faces.preprocess import unit_rows
from faces.types import CONDITIONS, Role
from service.bundles.importing import Embedder, import_embedder
from service.bundles.registry import manifest_digest
from service.inference.engine import Engine
from service.inference.parity import check_parity
from service.settings import builtin_bundle
from tests.export.parts import tiny_net
from tests.service.cli.command import fails, succeeds
from tests.service.inference.faces import OPTIONS
from tests.training.matcher.parts import small_cache
from training.data.network_input import network_input
from training.networks.backbone import BackboneConfig
from training.networks.onnx_encoders import BundleEncoder
from training.networks.onnx_import import import_bundle

IR50 = BackboneConfig(kind="ir50", side_px=112, dimension=32, width=0.125)
IR100 = IR50.model_copy(update={"kind": "ir100"})


def exported(folder: Path, config: BackboneConfig) -> tuple[Path, torch.nn.Module]:
    net, path = tiny_net(config), folder / f"{config.kind}.onnx"
    export_graph(net, path, side_px=config.side_px, role=Role.PROBE)
    return path, net


@pytest.fixture(scope="module")
def ir50(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    return exported(tmp_path_factory.mktemp("ir50"), IR50)


@pytest.mark.slow
def test_an_imported_network_serves_as_torch_runs_it_and_can_be_trained(
    ir50: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    file, net = ir50
    out = tmp_path / "mine"
    asked = ("models", "import", file, "--preprocessing", "arcface-bgr", "--licence", "MIT", "--out", out)
    done = succeeds(*asked)
    for said in ("has no thresholds", "export.calibrate", f"--trunk {out}", "32 dimensions"):
        assert said in " ".join(done.err.split())
    bundle = read(out)
    verify(bundle)
    assert bundle.manifest.calibration is None
    assert bundle.manifest.licences[bundle.manifest.encoder.probe.path] == "MIT"
    assert check_parity(bundle, Engine.load(bundle, OPTIONS)) is not None
    stored = read_parity(bundle)
    assert stored is not None
    images = network_input(stored.crops, IR50.side_px)
    with torch.no_grad():
        expected = net(images).numpy()
        assert cosines(stored.expected[Role.PROBE], expected).min() > 0.9999
        trainable, _ = import_bundle(out)
        assert cosines(trainable.eval()(images).numpy(), expected).min() > 0.9999
    digest = manifest_digest(bundle)
    fails(1, *asked, expected=["mine is there already"])
    assert manifest_digest(read(out)) == digest


@pytest.mark.slow
def test_a_network_of_a_hundred_layers_is_imported_and_can_be_trained(tmp_path: Path) -> None:
    file, net = exported(tmp_path, IR100)
    embedder = Embedder(file=file, name="hundred", preprocessing="arcface-bgr", licence="MIT")
    made = import_embedder(embedder, tmp_path / "hundred", base=builtin_bundle())
    trainable, _ = import_bundle(made.bundle.root)
    stored = read_parity(made.bundle)
    assert stored is not None
    images = network_input(stored.crops, IR100.side_px)
    with torch.no_grad():
        assert cosines(trainable.eval()(images).numpy(), net(images).numpy()).min() > 0.9999


def written(path: Path, *, side: int | str = 112, batch: int | str = "batch", outputs: int = 1) -> Path:
    """A network that shrinks its image to 4 x 4 and flattens it."""
    image = helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, side, side])
    nodes = [
        helper.make_node("AveragePool", ["data"], ["small"], kernel_shape=[28, 28], strides=[28, 28]),
        helper.make_node("Flatten", ["small"], ["fc1"]),
        helper.make_node("Neg", ["fc1"], ["other"]),
    ]
    names = ("fc1", "other")[:outputs]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 48]) for name in names]
    graph = helper.make_graph(nodes[: outputs + 1], "net", [image], made)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def test_a_file_for_one_image_serves_several_and_a_named_output_is_the_template(tmp_path: Path) -> None:
    file = written(tmp_path / "one.onnx", batch=1, outputs=2)
    out = tmp_path / "one"

    def imported(output: str | None) -> None:
        embedder = Embedder(file=file, name="one", preprocessing="arcface", licence="MIT", output=output)
        import_embedder(embedder, out, base=builtin_bundle())

    with pytest.raises(BundleError, match=r"several outputs.*fc1, other"):
        imported(None)
    with pytest.raises(BundleError, match="no output fc2"):
        imported("fc2")
    imported("fc1")
    bundle = read(out)
    engine = Engine.load(bundle, OPTIONS)
    assert check_parity(bundle, engine) is not None
    stored = read_parity(bundle)
    assert stored is not None
    pixels = stored.crops[..., ::-1].astype(np.float64)
    means = pixels.reshape(-1, 4, 28, 4, 28, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2).reshape(-1, 48)
    expected = unit_rows(((means - 127.5) / 127.5).astype(np.float32))
    assert cosines(stored.expected[Role.PROBE], expected).min() > 0.9999
    encoder = BundleEncoder(out)
    assert cosines(encoder.embed_as(stored.crops, Role.PROBE, CONDITIONS[0]), expected).min() > 0.9999


@pytest.mark.parametrize(
    ("name", "preprocessing", "said"),
    [
        ("large.onnx", "arcface", "takes any x 3 x 224 x 224, ArcFace's crop is"),
        ("text.onnx", "arcface", "text.onnx is no ONNX network"),
        ("none.onnx", "arcface", "there is no file none.onnx"),
        ("large.onnx", "mine", "no preprocessing mine: there are arcface, "),
    ],
)
def test_what_is_no_embedder_of_faces_is_refused(
    tmp_path: Path, name: str, preprocessing: str, said: str
) -> None:
    written(tmp_path / "large.onnx", side=224)
    (tmp_path / "text.onnx").write_text("no network")
    embedder = Embedder(file=tmp_path / name, name="one", preprocessing=preprocessing, licence="MIT")
    with pytest.raises(BundleError, match=said):
        import_embedder(embedder, tmp_path / "out", base=builtin_bundle())
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_bundle_is_never_replaced(
    ir50: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "one.jpg").write_bytes(b"mine")
    embedder = Embedder(file=ir50[0], name="one", preprocessing="arcface-bgr", licence="MIT")
    with pytest.raises(BundleError, match="photos is no bundle: it is left alone"):
        import_embedder(embedder, photos, base=builtin_bundle(), replace=True)
    assert (photos / "one.jpg").read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.slow
def test_a_trunk_is_adapted_into_a_second_encoder_of_its_space(
    ir50: tuple[Path, torch.nn.Module], tmp_path: Path
) -> None:
    trunk, cache, out = tmp_path / "trunk", tmp_path / "cache", tmp_path / "pair"
    embedder = Embedder(file=ir50[0], name="trunk", preprocessing="arcface-bgr", licence="MIT")
    import_embedder(embedder, trunk, base=builtin_bundle())
    small_cache(cache)
    app = typer.Typer()
    app.command()(main)
    words = ["--trunk", trunk, "--set", cache, "--out", out, "--work", tmp_path / "work", "--adapter"]
    words += ["--iterations", 2]
    for change in ("batch.people=4", "batch.real=2", "batch.singles=2", "batch.clear=2", "bf16=false"):
        words += ["--recipe", change]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    bundle = read(out)
    verify(bundle)
    assert bundle.manifest.encoder.routing == "condition"
    assert bundle.manifest.encoder.probe.sha256 != bundle.manifest.encoder.reference.sha256
    stored = read_parity(bundle)
    assert stored is not None
    references = BundleEncoder(out).embed_as(stored.crops, Role.REFERENCE, CONDITIONS[0])
    before = BundleEncoder(trunk)
    plain = before.embed_as(stored.crops, Role.REFERENCE, CONDITIONS[0])
    mirror = before.embed_as(stored.crops[:, :, ::-1], Role.REFERENCE, CONDITIONS[0])
    assert cosines(references, plain + mirror).min() > 0.999, "references keep passing through the trunk"
    probes = BundleEncoder(out).embed_as(stored.crops, Role.PROBE, CONDITIONS[-1])
    assert cosines(probes, references).max() < 1.0 - 1e-7
