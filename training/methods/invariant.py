"""IDR (He et al., AAAI 2017) and W-CNN (He et al., TPAMI 2018, arXiv 1708.02412).

A shared matrix W [w, d] and a private one for each spectrum, P_N and P_V [d - w, d], project the network's
feature F [d]. The head classifies [W F, P F]; a penalty keeps the private subspace orthogonal to the shared
one, and inference compares W F. W-CNN adds the Wasserstein distance between the two spectra's shared
features, as Gaussians of diagonal covariance, and a low rank of both classifiers together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from faces.strict import Strict
from faces.types import Spectrum
from training.data.batches import PairBatch
from training.engine.task import Outcome
from training.methods.losses import LossConfig, per_sample
from training.methods.nuclear_norm import nuclear_norm
from training.methods.pair_task import PairTask
from training.methods.plain import Head
from training.networks.layers import BnMode, route, unit_rows
from training.networks.shared_encoder import SharedEncoder


class InvariantConfig(Strict):
    """`shared`: rows w of W; the private matrices have the other d - w rows."""

    kind: Literal["idr", "wcnn"]
    loss: LossConfig = LossConfig()
    shared: Annotated[int, Field(gt=0)] = 384
    orthogonality: Annotated[float, Field(ge=0)] = 1.0
    wasserstein: Annotated[float, Field(ge=0)] = 1.0
    low_rank: Annotated[float, Field(ge=0)] = 1e-3
    head_lr: Annotated[float, Field(gt=0)] = 10.0
    bn_mode: BnMode = "separate"


class Invariant(PairTask):
    """IDR, or W-CNN, by `config.kind`. Raises ValueError if no dimension is left for the private part."""

    def __init__(self, backbone: nn.Module, config: InvariantConfig, *, dimension: int, classes: int) -> None:
        if config.shared >= dimension:
            raise ValueError(
                f"the shared subspace is smaller than the feature: {config.shared} of {dimension}"
            )
        basis = torch.linalg.qr(torch.randn(dimension, dimension)).Q  # [d, d], orthonormal rows
        encoder = SharedEncoder(backbone, basis[: config.shared])
        super().__init__(encoder, bn_mode=config.bn_mode)
        self.config = config
        self.private = nn.ParameterDict(
            {s.value: nn.Parameter(basis[config.shared :].clone()) for s in Spectrum}  # [d - w, d] each
        )
        self.heads = nn.ModuleDict({s.value: Head(classes, dimension) for s in self._head_names()})

    @property
    def _seen(self) -> SharedEncoder:
        return cast(SharedEncoder, self.encoder)

    @property
    def _classifiers(self) -> dict[str, Head]:
        return {name: cast(Head, head) for name, head in self.heads.items()}

    def _head_names(self) -> tuple[Spectrum, ...]:
        return (Spectrum.NIR, Spectrum.VIS) if self.config.kind == "wcnn" else (Spectrum.VIS,)

    def start_at(self, means: Tensor) -> None:
        """Sets the heads' weights to the projected class means [classes, dimension] of the features."""
        with torch.no_grad():
            whole = torch.cat([self._seen.shared, self.private[Spectrum.VIS.value]])  # [d, d]
            for head in self._classifiers.values():
                head.weight.copy_(unit_rows(means @ whole.T))

    def forward(self, batch: PairBatch) -> Outcome:
        shared, losses = {}, []
        for spectrum, images in ((Spectrum.NIR, batch.nir), (Spectrum.VIS, batch.vis)):
            with route(self.encoder, spectrum):
                feature = unit_rows(self._seen.backbone(images))  # [B, d]
            shared[spectrum] = feature @ self._seen.shared.T  # [B, w]
            private = feature @ self.private[spectrum.value].T  # [B, d - w]
            rows = unit_rows(torch.cat([shared[spectrum], private], dim=1))  # [B, d]
            head = self._classifiers[spectrum.value if self.config.kind == "wcnn" else Spectrum.VIS.value]
            cosine = head(rows)  # [B, classes]
            allowed = torch.ones_like(cosine, dtype=torch.bool)  # [B, classes]
            losses.append(per_sample(cosine, batch.identity, allowed, self.config.loss).mean())
        parts = {"orthogonality": self._orthogonality()}
        loss = torch.stack(losses).mean() + self.config.orthogonality * parts["orthogonality"]
        if self.config.kind == "wcnn":
            parts["wasserstein"] = wasserstein(shared[Spectrum.NIR], shared[Spectrum.VIS])
            parts["low_rank"] = self._nuclear_norm()
            loss = loss + self.config.wasserstein * parts["wasserstein"]
            loss = loss + self.config.low_rank * parts["low_rank"]
        embeddings = {s: unit_rows(rows) for s, rows in shared.items()}  # [B, w] each
        return Outcome(loss, embeddings, {name: value.detach() for name, value in parts.items()})

    def _orthogonality(self) -> Tensor:
        """The squared Frobenius norm of P W^T, summed over both spectra."""
        shared = self._seen.shared  # [w, d]
        return torch.stack([(p @ shared.T).square().sum() for p in self.private.values()]).sum()

    def _nuclear_norm(self) -> Tensor:
        """The nuclear norm of both classifiers side by side; it is low if they agree."""
        both = torch.cat([head.weight for head in self._classifiers.values()], dim=1)  # [classes, 2 d]
        return nuclear_norm(both)

    def groups(self, lr: float) -> list[dict[str, Any]]:
        heads = list(self.heads.parameters())
        own = {id(p) for p in heads}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in own]
        return [{"params": rest, "lr": lr}, {"params": heads, "lr": lr * self.config.head_lr}]


def wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """The squared 2-Wasserstein distance of two sets of rows [n, d], as Gaussians of diagonal covariance:
    |mean a - mean b|^2 + |std a - std b|^2."""
    spread = a.std(dim=0, unbiased=False) - b.std(dim=0, unbiased=False)  # [d]
    return (a.mean(dim=0) - b.mean(dim=0)).square().sum() + spread.square().sum()
