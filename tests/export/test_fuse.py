"""The fused file: its cosines are the weighted mean of both networks' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.fuse import Fused, check_pair, fused, kept_share, mirrored_vectors, own_directions, principal
from export.graph import ExportError, export_graph
from faces.preprocess import unit_rows
from faces.types import Role, Spectrum
from tests.export.parts import SHALLOW, crop, tiny_net
from training.networks.backbone import BackboneConfig
from training.networks.onnx_runner import BatchRunner

SHARE = 0.3


def images(count: int = 12) -> np.ndarray:
    chance = torch.Generator().manual_seed(3)
    return torch.rand(count, 3, SHALLOW.side_px, SHALLOW.side_px, generator=chance).mul(2).sub(1).numpy()


def test_cosines_of_the_file_are_the_weighted_mean_of_both_networks(tmp_path: Path) -> None:
    one, two = tiny_net(SHALLOW, seed=1), tiny_net(SHALLOW, seed=2)
    net = Fused(one, two, share=SHARE, basis=None)
    export_graph(net, tmp_path / "e.onnx", side_px=SHALLOW.side_px, role=Role.PROBE)
    inputs = images()
    found = unit_rows(BatchRunner(tmp_path / "e.onnx").run(inputs))
    a, b = mirrored_vectors(one, inputs), mirrored_vectors(two, inputs)
    expected = (1 - SHARE) * a @ a.T + SHARE * b @ b.T
    np.testing.assert_allclose(found @ found.T, expected, atol=2e-5)


@pytest.mark.parametrize("batch", [1, 5])
def test_the_file_says_what_torch_says(tmp_path: Path, batch: int) -> None:
    one, two = tiny_net(SHALLOW, seed=1), tiny_net(SHALLOW, seed=2)
    basis = principal(mirrored_vectors(two, images(64)), SHALLOW.dimension // 2)
    net = Fused(one, two, share=SHARE, basis=basis).eval()
    export_graph(net, tmp_path / "e.onnx", side_px=SHALLOW.side_px, role=Role.PROBE)
    inputs = images(batch)
    with torch.no_grad():
        expected = net(torch.from_numpy(inputs)).numpy()
    assert expected.shape == (batch, SHALLOW.dimension + SHALLOW.dimension // 2)
    np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(BatchRunner(tmp_path / "e.onnx").run(inputs), expected, atol=2e-5)


def test_principal_directions_are_orthonormal_and_keep_what_there_is() -> None:
    chance = np.random.default_rng(0)
    rows = chance.standard_normal((200, 4)) @ chance.standard_normal((4, 16))
    templates = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    basis = principal(templates, 4)
    np.testing.assert_allclose((basis @ basis.T).numpy(), np.eye(4), atol=1e-5)
    assert kept_share(templates, basis) == pytest.approx(1.0, abs=1e-4)
    assert kept_share(templates, principal(templates, 2)) < 0.999
    with pytest.raises(ExportError, match="directions need"):
        principal(templates[:3], 4)


class Lifted(nn.Module):
    """A network whose templates lie in a subspace of a wider space."""

    def __init__(self, net: nn.Module, wider: int) -> None:
        super().__init__()
        self.net, self.lift = net, nn.Linear(SHALLOW.dimension, wider, bias=False)
        nn.init.orthogonal_(self.lift.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lift(self.net(x))
        return y


def test_a_network_that_was_lifted_is_turned_back_without_loss() -> None:
    wide = SHALLOW.model_copy(update={"dimension": 2 * SHALLOW.dimension})
    net = Lifted(tiny_net(SHALLOW), wide.dimension).eval()
    faces = np.stack([crop(i, 0, Spectrum.VIS, masked=False) for i in range(4)])
    basis = own_directions(net, wide, SHALLOW.dimension, faces)
    assert basis is not None
    templates = mirrored_vectors(net, images())
    assert kept_share(templates, basis) == pytest.approx(1.0, abs=1e-4)
    assert own_directions(net, wide, wide.dimension, faces) is None
    with pytest.raises(ExportError, match=r"4 dimensions keep 0\."):
        own_directions(net, wide, 4, faces)
    with pytest.raises(ExportError, match="no dimension is left"):
        own_directions(net, wide, 0, faces)


def test_both_roles_are_fused_with_one_network_and_a_shared_one_stays_shared() -> None:
    faces = np.stack([crop(i, 0, Spectrum.VIS, masked=False) for i in range(2)])
    one, two, second = ((tiny_net(SHALLOW, seed=seed), SHALLOW) for seed in (1, 2, 3))
    made: tuple[dict[Role, nn.Module], BackboneConfig] = fused(
        {Role.PROBE: one, Role.REFERENCE: two}, second, faces, share=SHARE, dimension=512
    )
    nets, config = made
    assert config.dimension == 2 * SHALLOW.dimension
    assert nets[Role.PROBE] is not nets[Role.REFERENCE]
    same, _ = fused(dict.fromkeys(Role, one), second, faces, share=SHARE, dimension=512)
    assert same[Role.PROBE] is same[Role.REFERENCE]


def test_what_cannot_be_fused_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Fused(tiny_net(SHALLOW), tiny_net(SHALLOW), share=1.0, basis=None)
    with pytest.raises(ExportError, match="at 112 px"):
        check_pair(SHALLOW, SHALLOW.model_copy(update={"side_px": 112}))
