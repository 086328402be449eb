"""Exports from a checkpoint to a bundle that the service's engine loads and that embeds as torch does."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from onnx import numpy_helper
from typer.testing import CliRunner

from export.__main__ import app
from export.card import CARD_NAME
from export.parity import torch_vectors
from export.recalibrate import recalibrate
from export.threshold_check import threshold_check
from faces.bundle import Bundle, file_ref, read, verify, write_manifest
from faces.parity import cosines, read_parity
from faces.place import building
from faces.preprocess import encoder_input
from faces.types import CONDITIONS, PAIRS, Condition, Role, Spectrum
from service.inference.engine import Engine
from service.inference.parity import ParityError, check_parity
from tests.conftest import REPO
from tests.export.parts import MOBILE, SHALLOW, checkpoint, prepared
from tests.service.inference.faces import OPTIONS
from training.data.network_input import network_input
from training.networks.checkpoint import load_network

SUBJECTS = 80
ABOUT = 'summary = "A tiny network of a test."\nlicence = "Apache-2.0"\nlimits = "Knows blocks only."\n'


@dataclass(frozen=True, slots=True)
class Made:
    """A bundle, the checkpoint it came from, and what the command said."""

    bundle: Bundle
    checkpoint: Path
    output: str


def call(*words: object) -> str:
    """Run the command; what it printed. Raises AssertionError where it fails."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def refusal(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 1, done.output
    return " ".join(done.output.split())


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def blocks(work: Path) -> Path:
    return prepared(work / "blocks", subjects=SUBJECTS, lost=3).root


@pytest.fixture(scope="module")
def two_roles(work: Path, blocks: Path, bundle_dir: Path) -> Made:
    """A MobileFaceNet with statistics for each spectrum, calibrated on the blocks."""
    weights = checkpoint(work / "split.pt", MOBILE.model_copy(update={"split": True}))
    (work / "about.toml").write_text(ABOUT)
    out = work / "two-roles"
    said = call(
        weights, "--out", out, "--base", bundle_dir, "--calibration", blocks, "--about", work / "about.toml"
    )
    return Made(read(out), weights, said)


@pytest.fixture(scope="module")
def half(work: Path, bundle_dir: Path) -> Made:
    """A shallow network in half precision, without thresholds."""
    weights, out = checkpoint(work / "shallow.pt", SHALLOW), work / "half"
    said = call(weights, "--out", out, "--base", bundle_dir, "--variant", "fp16")
    return Made(read(out), weights, said)


def test_a_checkpoint_with_split_statistics_becomes_two_encoders(two_roles: Made) -> None:
    verify(two_roles.bundle)
    manifest = two_roles.bundle.manifest
    assert manifest.name == "two-roles"
    assert manifest.encoder.probe.sha256 != manifest.encoder.reference.sha256
    assert (manifest.encoder.dimension, manifest.encoder.input_px) == (32, (32, 32))
    assert set(manifest.licences) == {ref.path for ref in manifest.files}
    assert "encoder-probe.onnx" in two_roles.output
    assert "space sp-" in two_roles.output


@pytest.mark.parametrize("role", Role)
def test_the_services_engine_embeds_as_torch_does_with_the_statistics_of_the_role(
    two_roles: Made, role: Role
) -> None:
    bundle = two_roles.bundle
    engine, stored = Engine.load(bundle, OPTIONS), read_parity(bundle)
    net, config = load_network(two_roles.checkpoint)
    assert stored is not None
    inputs = [encoder_input(crop, bundle.manifest.encoder) for crop in stored.aligned()]
    rows = np.stack([engine.encoder.run([(role, tensor)])[0] for tensor in inputs])
    tensors = network_input(stored.crops, config.side_px).numpy()
    mine = torch_vectors(net, tensors, role)
    other = torch_vectors(net, tensors, Role.REFERENCE if role is Role.PROBE else Role.PROBE)
    assert cosines(rows, mine).min() > 0.9999
    assert cosines(rows, other).max() < 0.999
    replayed = check_parity(bundle, engine)
    assert replayed is not None
    assert replayed.crops == len(stored.crops) >= 8


def test_thresholds_come_from_the_set_for_every_pair_of_conditions(two_roles: Made) -> None:
    calibration = two_roles.bundle.manifest.calibration
    assert calibration is not None
    assert {c.pair for c in calibration.pairs} == set(PAIRS)
    assert {c.subjects for c in calibration.pairs} == {SUBJECTS}
    clear = [c for c in calibration.pairs if c.reference == CONDITIONS[0]]
    assert [c.mated - 2 * SUBJECTS for c in clear] == [0, 0, 0, 3]
    assert calibration.default_fmr == calibration.duplicate_fmr == 1e-2
    assert "blocks" in calibration.data
    assert "blocks, not faces" in calibration.synthetic
    for points in calibration.pairs:
        # 80 people support 1e-2 at most, and one decade beyond is extrapolated.
        assert {point.fmr: point.method for point in points.points if point.fmr < 1e-2} in (
            {},
            {1e-3: "extrapolated"},
        )
    assert str(REPO) not in two_roles.bundle.manifest.model_dump_json()


def test_the_card_states_what_was_given_and_measured_and_no_more(two_roles: Made) -> None:
    card = (two_roles.bundle.root / CARD_NAME).read_text()
    assert "A tiny network of a test." in card
    assert "Knows blocks only." in card
    assert "Not stated by whoever exported it." in card, "method and data were not given"
    assert "Not measured: no evaluation report was given" in card
    calibration = two_roles.bundle.manifest.calibration
    assert calibration is not None
    for points in calibration.pairs:
        point = points.points[0]
        assert f"| {points.pair} | {SUBJECTS} | 0.01 |" in card
        assert f"{point.threshold:.4f} | everybody | {point.fnmr:.4f} |" in card
    assert two_roles.bundle.manifest.space_id in card


def test_another_network_under_a_right_digest_fails_the_replay(two_roles: Made, tmp_path: Path) -> None:
    root = Path(shutil.copytree(two_roles.bundle.root, tmp_path / "tampered"))
    manifest = two_roles.bundle.manifest
    path = root / manifest.encoder.probe.path
    model = onnx.load(path)
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(weights)
    weights.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[::-1]), weights.name))
    onnx.save(model, path)
    encoder = manifest.encoder.model_copy(update={"probe": file_ref(path)})
    write_manifest(manifest.model_copy(update={"encoder": encoder}), root)
    bundle = read(root)
    verify(bundle)
    with pytest.raises(ParityError, match="the probe encoder on CPUExecutionProvider"):
        check_parity(bundle, Engine.load(bundle, OPTIONS))


def test_a_half_precision_bundle_shares_one_encoder_and_passes_its_replay(half: Made) -> None:
    manifest = half.bundle.manifest
    verify(half.bundle)
    assert manifest.encoder.probe == manifest.encoder.reference
    assert manifest.encoder.probe.path == "encoder-fp16.onnx"
    assert manifest.calibration is None
    assert manifest.parity is not None
    assert manifest.parity.minimum_cosine == 0.999
    assert not (half.bundle.root / "encoder.onnx").exists()
    assert check_parity(half.bundle, Engine.load(half.bundle, OPTIONS)) is not None
    assert "for comparison" in (half.bundle.root / CARD_NAME).read_text()


def test_an_existing_directory_is_not_replaced_unasked(half: Made, bundle_dir: Path, tmp_path: Path) -> None:
    words = (half.checkpoint, "--base", bundle_dir)
    assert "exists" in refusal(*words, "--out", half.bundle.root)
    assert "is no bundle" in refusal(*words, "--out", tmp_path, "--replace")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--least-cosine", "0.9"], "--least-cosine is for --variant int8"),
        (["--variant", "int8"], "int8 fixes its ranges on crops of a prepared set"),
        (["--calibration", "nowhere"], "no finished prepared set"),
        (["--about", "nowhere.toml"], "nowhere.toml: No such file"),
        (["--evaluation", "nowhere.json"], "nowhere.json: No such file"),
        (["--base", "nowhere"], "no bundle at nowhere"),
    ],
)
def test_a_refused_call_says_why_and_leaves_no_file(
    half: Made, bundle_dir: Path, tmp_path: Path, words: list[str], why: str
) -> None:
    out = tmp_path / "out"
    assert why in refusal(half.checkpoint, "--out", out, "--base", bundle_dir, *words)
    assert not list(tmp_path.iterdir())


def test_a_set_that_supports_no_threshold_stops_the_export(
    half: Made, bundle_dir: Path, work: Path, tmp_path: Path
) -> None:
    few = prepared(work / "few", subjects=12).root
    said = refusal(half.checkpoint, "--out", tmp_path / "out", "--base", bundle_dir, "--calibration", few)
    assert "vis-unmasked: 12 subjects support no FMR of 0.01" in said
    assert not list(tmp_path.iterdir())


def test_unknown_keys_for_the_card_are_refused(half: Made, bundle_dir: Path, tmp_path: Path) -> None:
    about = tmp_path / "about.toml"
    about.write_text('licence = "MIT"\naccuracy = "99 %"\n')
    said = refusal(half.checkpoint, "--out", tmp_path / "out", "--base", bundle_dir, "--about", about)
    assert "about.toml: accuracy" in said


def test_a_killed_export_leaves_no_bundle_and_the_next_one_removes_its_remains(
    half: Made, bundle_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command: list[str | Path] = [sys.executable, "-m", "export", half.checkpoint, "--out", out]
    command += ["--base", bundle_dir]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=REPO)
    end = time.monotonic() + 120
    while not list(tmp_path.glob(".out.building-*")) and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [f".out.building-{process.pid}"]
    with building(out) as place:
        (place / "whole").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "whole").exists()


def test_thresholds_are_set_anew_without_another_space_and_templates_are_kept(
    two_roles: Made, blocks: Path, work: Path
) -> None:
    root = Path(shutil.copytree(two_roles.bundle.root, work / "again"))
    manifest = read(root).manifest
    assert manifest.calibration is not None
    write_manifest(manifest.model_copy(update={"calibration": None}), root)
    kept = work / "kept"
    more = typer.Typer()
    more.command()(recalibrate)
    words = [str(word) for word in (root, "--calibration", blocks, "--kept", kept)]
    done = CliRunner().invoke(more, words)
    assert done.exit_code == 0, done.output
    made = read(root).manifest
    assert made.calibration is not None
    assert made.space_id == manifest.space_id
    assert made.calibration.pairs == manifest.calibration.pairs
    assert made.calibration.id in (root / CARD_NAME).read_text()
    assert (root / CARD_NAME).read_text().count("## Thresholds") == 1
    assert "## Files" in (root / CARD_NAME).read_text()
    stored = sorted(kept.iterdir())
    # Two networks; a row is embedded by the one that its side needs.
    assert len({path.name.split("-")[1] for path in stored}) == 2
    times = [path.stat().st_mtime_ns for path in stored]
    assert CliRunner().invoke(more, words).exit_code == 0
    assert [path.stat().st_mtime_ns for path in stored] == times, "nothing is embedded twice"


def test_pairs_that_no_set_shows_keep_their_thresholds_if_asked(two_roles: Made, work: Path) -> None:
    root = Path(shutil.copytree(two_roles.bundle.root, work / "own-camera"))
    before = read(root).manifest.calibration
    assert before is not None
    # No visible masked photos, which no camera for NIR has.
    own = prepared(work / "camera", subjects=SUBJECTS, photos=2, spectra=(Spectrum.NIR,)).root
    more = typer.Typer()
    more.command()(recalibrate)
    words = [str(root), "--calibration", str(own)]
    refused = CliRunner().invoke(more, words)
    assert refused.exit_code == 1
    assert read(root).manifest.calibration == before
    done = CliRunner().invoke(more, [*words, "--keep-others"])
    assert done.exit_code == 0, done.output
    made = read(root).manifest.calibration
    assert made is not None
    assert made.command == "python -m export.recalibrate BUNDLE --calibration camera --keep-others"
    assert made.data.endswith(f"; other pairs: {before.data}")
    assert (made.default_fmr, made.duplicate_fmr) == (before.default_fmr, before.duplicate_fmr)
    assert {one.pair for one in made.pairs} == set(PAIRS)
    vis, vis_masked = CONDITIONS[0], Condition(Spectrum.VIS, masked=True)
    for old, new in zip(before.pairs, made.pairs, strict=True):
        # The set's visible photos are references alone.
        kept = vis_masked in (old.reference, old.probe) or (old.probe == vis != old.reference)
        assert (new == old) == kept, f"{old.pair}"


def test_thresholds_are_checked_on_the_set_they_came_from_and_hold(
    two_roles: Made, blocks: Path, work: Path
) -> None:
    more = typer.Typer()
    more.command()(threshold_check)
    out = work / "check.json"
    words = [str(two_roles.bundle.root), str(blocks), "--fmr", "1e-2", "--out", str(out)]
    done = CliRunner().invoke(more, [*words, "--split", "validation"])
    assert done.exit_code == 0, done.output
    checks = json.loads(out.read_bytes())
    calibration = two_roles.bundle.manifest.calibration
    assert calibration is not None
    assert [one["pair"] for one in checks] == [str(one.pair) for one in calibration.pairs]
    for one, points in zip(checks, calibration.pairs, strict=True):
        # What calibration sets keeps its FMR on the people it was set by, unless it was extrapolated.
        assert one["observed"]["value"] <= 1e-2 or one["method"] == "extrapolated"
        assert one["holds"]
        assert one["comparisons"] == points.non_mated
        assert one["threshold"] == calibration.at(points.pair, 1e-2).threshold
        assert one["fnmr"] == calibration.at(points.pair, 1e-2).fnmr
    assert done.stdout.count("| holds |") == len(PAIRS)
    refused = CliRunner().invoke(more, [*words, "--split", "test"])
    assert refused.exit_code == 1
    assert "share no pair of conditions" in " ".join(refused.output.split())
