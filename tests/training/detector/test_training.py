"""Tests the network, its losses, and that a killed run resumes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from faces.detect import CELL_VALUES, STRIDES
from tests.training.detector.parts import RECIPE, TINY, stored
from training.data.records import DataSetError
from training.detector.network import DetectorNet, Exported, NetworkConfig, count_parameters
from training.detector.pictures import Pictures
from training.detector.run import RunOptions, batches, load_detector, train_detector
from training.detector.targets import cell_centres
from training.detector.task import DetectorTask, LossConfig, overlap


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So little work is not worth sharing, and on a busy machine threads wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def pictures(tmp_path: Path) -> Pictures:
    return stored(tmp_path / "pictures")


def test_the_network_of_the_recipe_stays_below_a_megabyte() -> None:
    assert count_parameters(DetectorNet(NetworkConfig())) < 250_000


@pytest.mark.parametrize("size", [(64, 96), (160, 32)])
def test_every_stride_gives_a_grid_of_valid_values(size: tuple[int, int]) -> None:
    made = Exported(DetectorNet(TINY)).eval()(torch.zeros(2, 3, *size))
    for stride, values in zip(STRIDES, made, strict=True):
        assert values.shape == (2, CELL_VALUES, size[0] // stride, size[1] // stride)
        assert ((values[:, :2] >= 0) & (values[:, :2] <= 1)).all()
        assert (values[:, 4:6] > 0).all()


def test_the_network_in_evaluation_mode_agrees_with_training_mode() -> None:
    torch.manual_seed(0)
    net, images = DetectorNet(TINY), torch.rand(4, 3, 96, 96) * 2 - 1
    with torch.no_grad():
        for _ in range(80):
            trained = net(images)
        used = net.eval()(images)
    for one, other in zip(trained, used, strict=True):
        assert float((one - other).abs().max()) < 0.05 * float(one.std())


def test_iou_and_giou_of_known_boxes() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]])
    iou, giou = overlap(a, b)
    assert iou.tolist() == pytest.approx([1, 1 / 3, 0], abs=1e-5)
    assert giou.tolist() == pytest.approx([1, 1 / 3, -1 / 3], abs=1e-5)


def test_the_loss_falls_on_a_repeated_batch(pictures: Pictures) -> None:
    torch.manual_seed(0)
    task = DetectorTask(DetectorNet(TINY), LossConfig(), side_px=RECIPE.side_px)
    batch = next(batches(RECIPE, pictures))
    optimiser = torch.optim.AdamW(task.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        outcome = task(batch)
        optimiser.zero_grad()
        outcome.loss.backward()
        optimiser.step()
        losses.append(float(outcome.loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert set(outcome.parts) == {"score", "box", "landmarks", "mask"}


def test_perfect_outputs_have_almost_no_loss(pictures: Pictures) -> None:
    class Fixed(torch.nn.Module):
        def forward(self, _: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (raw.transpose(1, 2)[..., None],)

    batch = next(batches(RECIPE, pictures))
    cells = torch.from_numpy(cell_centres(RECIPE.side_px))
    stride, face = cells[:, 2:], batch.kinds > 0
    centre, size = (
        (batch.boxes[..., 2:] + batch.boxes[..., :2]) / 2,
        batch.boxes[..., 2:] - batch.boxes[..., :2],
    )
    offsets = (batch.landmarks - cells[:, :2].repeat(1, 5)) / stride
    score = torch.where(face, 20.0, -20.0)[..., None]
    mask = torch.where(batch.masked > 0, 20.0, -20.0)[..., None]
    logs = (size.clamp(min=1.0) / stride).log()
    raw = torch.cat([score, mask, (centre - cells[:, :2]) / stride, logs, offsets], dim=-1)
    task = DetectorTask(DetectorNet(TINY), LossConfig(), side_px=RECIPE.side_px)
    task.encoder = Fixed()
    assert float(task(batch).loss) < 1e-3


def test_a_resumed_run_gives_the_same_network_as_an_uninterrupted_one(
    tmp_path: Path, pictures: Pictures
) -> None:
    train_detector(RECIPE, pictures, RunOptions(out=tmp_path / "whole"))

    class Killed(Exception):
        pass

    def kill(iteration: int, _: float) -> None:
        if iteration == 4:
            raise Killed

    with pytest.raises(Killed):
        train_detector(RECIPE, pictures, RunOptions(out=tmp_path / "cut"), on_step=kill)
    path = train_detector(RECIPE, pictures, RunOptions(out=tmp_path / "cut"))
    whole, cut = load_detector(tmp_path / "whole" / path.name), load_detector(path)
    for one, other in zip(whole.state_dict().values(), cut.state_dict().values(), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pt"
    torch.save({"backbone": {}}, path)
    with pytest.raises(DataSetError, match="no checkpoint of a detector"):
        load_detector(path)
