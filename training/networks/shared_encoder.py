"""A backbone behind which a matrix shared by both spectra stands."""

from __future__ import annotations

from torch import Tensor, nn


class SharedEncoder(nn.Module):
    """A backbone and W, whose rows start orthonormal: [b, 3, s, s] -> [b, shared]."""

    def __init__(self, backbone: nn.Module, start: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.shared = nn.Parameter(start.clone())

    def forward(self, x: Tensor) -> Tensor:
        feature: Tensor = self.backbone(x)
        return feature @ self.shared.T
