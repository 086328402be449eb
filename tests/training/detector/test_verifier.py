"""Examples of what a detector takes for faces, a verifier that learns from them, and the verdict's rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from faces.types import Box, Face, Image, Spectrum
from faces.verifier import together
from tests.training.detector.parts import TINY, dotted, empty, stored
from tests.training.detector.test_mine import eager
from training.data.records import DataSetError
from training.detector.candidates import open_candidate
from training.detector.doubts import EXAMPLE_PX, Example, of_empty, of_pictures, read_doubts, write_doubts
from training.detector.network import DetectorNet, count_parameters
from training.detector.verdicts import Judged, Verifier, fit_rule
from training.detector.verifier import VerifierConfig, VerifierNet, load_verifier
from training.detector.verifier_run import Drawer, VerifierRecipe, moved, train_verifier
from training.engine.loop import LoopConfig

SMALL = VerifierConfig(input_px=32, times=2.0, stem=4, quarter=4, eighth=8, deep=8)
RECIPE = VerifierRecipe(
    network=SMALL,
    batch=16,
    ema=0.5,
    loop=LoopConfig(iterations=40, lr=1e-2, optimiser="adamw", save_every=20, log_every=10),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So little work is not worth sharing, and on a busy machine threads wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made_up(count: int = 40) -> list[Example]:
    """Bright squares are faces, dark ones are not; every second one is doubtful."""
    rng = np.random.default_rng(0)
    examples: list[Example] = []
    for i in range(count):
        level = 200 if i % 2 else 50
        noise = rng.integers(0, 30, (EXAMPLE_PX, EXAMPLE_PX, 3))
        examples.append(((noise + level).astype(np.uint8), bool(i % 2), 0.5 if i % 4 < 2 else 0.9))
    return examples


def test_the_network_of_the_recipe_is_small() -> None:
    assert count_parameters(VerifierNet(VerifierConfig())) < 100_000


def test_the_first_layers_may_be_a_detector_s() -> None:
    detector, net = DetectorNet(TINY), VerifierNet(SMALL)
    net.start_from(detector)
    for name, value in net.quarter.state_dict().items():
        assert torch.equal(value, detector.quarter.state_dict()[name])
    with pytest.raises(DataSetError, match="other channels"):
        VerifierNet(VerifierConfig()).start_from(detector)


@pytest.mark.slow
def test_examples_are_the_detections_with_the_truth_and_never_doubtful_places(tmp_path: Path) -> None:
    candidate = open_candidate(eager(tmp_path / "detector.onnx"))
    pictures = stored(tmp_path / "pictures", dotted(sure=False), empty())
    doubtful, field = of_pictures(candidate, pictures)
    x, y, width, height = dotted().faces[0].box
    for place in doubtful[1]:
        shared_x = min(x + width, place.box[0] + place.box[2]) - max(x, place.box[0])
        shared_y = min(y + height, place.box[1] + place.box[3]) - max(y, place.box[1])
        assert max(0, shared_x) * max(0, shared_y) <= 0.2 * place.box[2] * place.box[3] + 1e-6
    assert field[0]
    assert not any(is_face for _, is_face, _ in field[0])
    assert all(crop.shape == (EXAMPLE_PX, EXAMPLE_PX, 3) for crop, _, _ in field[0])
    scene = Image(np.full((120, 160, 3), 90, np.uint8), Spectrum.VIS)
    (from_scene,) = of_empty(candidate, [scene], parts=1)
    assert len(from_scene) > len(field[0])


def test_examples_are_read_back_and_one_kind_alone_is_refused(tmp_path: Path) -> None:
    examples = made_up(6)
    write_doubts(tmp_path / "doubts", examples)
    read = read_doubts(tmp_path / "doubts")
    assert read.faces.tolist() == [is_face for _, is_face, _ in examples]
    np.testing.assert_array_equal(read.crops[3], examples[3][0])
    with pytest.raises(DataSetError, match="both kinds"):
        write_doubts(tmp_path / "one", [example for example in examples if example[1]])
    with pytest.raises(DataSetError, match="detector verifier examples"):
        read_doubts(tmp_path / "none")


def test_a_crop_that_is_not_moved_is_the_middle_of_its_example() -> None:
    example = np.zeros((EXAMPLE_PX, EXAMPLE_PX, 3), np.uint8)
    # The detection fills the middle third of an example of 96 px, and the middle half of a crop of 32.
    example[32:64, 32:64] = 255
    still = RECIPE.model_copy(
        update={
            "moves": RECIPE.moves.model_copy(update={"scale": 0.0, "shift": 0.0, "turn": 0.0}),
            "camera_share": 0.0,
        }
    )
    crop = moved(example, still, np.random.default_rng(0))
    assert crop.shape == (32, 32, 3)
    assert (crop[9:23, 9:23] == 255).all()
    assert not crop[:7].any()
    assert not crop[:, 25:].any()


def test_half_of_a_batch_are_faces_and_most_are_doubtful(tmp_path: Path) -> None:
    write_doubts(tmp_path, made_up())
    drawer = Drawer([read_doubts(tmp_path)], RECIPE.model_copy(update={"batch": 400}))
    batch = drawer.batch(3)
    assert batch.faces.mean() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(batch.crops, drawer.batch(3).crops)
    assert not torch.equal(batch.crops, drawer.batch(4).crops)


def test_a_verifier_learns_what_is_plain_and_a_killed_run_goes_on(tmp_path: Path) -> None:
    write_doubts(tmp_path / "doubts", made_up())
    doubts = [read_doubts(tmp_path / "doubts")]
    half = RECIPE.model_copy(update={"loop": RECIPE.loop.model_copy(update={"iterations": 20})})
    train_verifier(half, doubts, tmp_path / "run", threads=1)
    path = train_verifier(RECIPE, doubts, tmp_path / "run", threads=1)
    net, config = load_verifier(path)
    assert config == SMALL
    verifier = Verifier(net, config)
    marks = ((1.0, 1.0), (3.0, 1.0), (2.0, 2.0), (1.0, 3.0), (3.0, 3.0))
    face = Face(Box(40, 40, 30, 30), marks, 0.5)
    bright, dark = (
        verifier.outputs(Image(np.full((120, 120, 3), level, np.uint8), Spectrum.VIS), [face])[0]
        for level in (215, 65)
    )
    assert bright > dark + 1.0
    assert verifier.outputs(Image(np.zeros((9, 9, 3), np.uint8), Spectrum.VIS), []).shape == (0,)
    with pytest.raises(DataSetError, match="no checkpoint of a verifier"):
        load_verifier(tmp_path / "run" / "last.pt")


def judged(seed: int = 0) -> Judged:
    """300 faces and 300 others that overlap in the score, and hardly in the verdict."""
    rng = np.random.default_rng(seed)
    truths = np.arange(600) % 2 == 0
    firsts = np.clip(rng.normal(np.where(truths, 0.6, 0.52), 0.08), 0.3, 0.95)
    return Judged(firsts, firsts, rng.normal(np.where(truths, 2.0, -2.0), 1.0), truths, 1000)


def test_the_rule_leaves_no_more_false_faces_than_are_allowed_and_loses_no_recall() -> None:
    data = judged()
    doubt = data.among(0.4, 0.75)
    before = doubt.firsts >= 0.5
    beyond = int((~data.truths & (data.firsts >= 0.75)).sum())
    for most in (0.01, 0.02):
        rule = fit_rule(data, least=0.4, below=0.75, threshold=0.5, most_false=most, data="made up")
        passed = np.array(
            [
                together(score, out, rule) >= 0.5
                for score, out in zip(doubt.scores, doubt.outputs, strict=True)
            ]
        )
        assert passed[~doubt.truths].sum() + beyond <= most * data.pictures
        assert passed[doubt.truths].sum() >= before[doubt.truths].sum()
    assert before[~doubt.truths].sum() > 100
    assert rule.verdict > 0
    assert f"{int(doubt.truths.sum())} true and {int((~doubt.truths).sum())} false" in rule.data


def test_a_rule_needs_both_kinds_and_a_verifier_that_helps() -> None:
    def fit(data: Judged, most: float = 0.01) -> None:
        fit_rule(data, least=0.4, below=0.75, threshold=0.5, most_false=most, data="made up")

    data = judged()
    with pytest.raises(DataSetError, match="0 false"):
        fit(replace(data, truths=np.ones(len(data.truths), np.bool_)))
    with pytest.raises(DataSetError, match="cannot be used"):
        fit(replace(data, outputs=-data.outputs))
    blind = np.random.default_rng(1).normal(np.where(data.truths, 0.2, 0.0), 1.0)
    with pytest.raises(DataSetError, match="would be left"):
        fit(replace(data, outputs=blind), 0.001)
