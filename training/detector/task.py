"""Defines the detector's losses: score (how well the box fits), box, landmarks, mask."""

from __future__ import annotations

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from faces.strict import Strict
from training.detector.network import DetectorNet
from training.detector.targets import DetectorBatch, cell_centres
from training.engine.ema import ema_update
from training.engine.task import Outcome, Task

Weight = Annotated[float, Field(ge=0)]
EPS = 1e-6
# Iterations of warm-up of the average, so that it forgets the random initial weights.
WARM = 10.0


class LossConfig(Strict):
    """Weights of the losses, all per face cell. `focus`: exponent of the quality focal loss; `ema`: decay of
    the averaged network, which is exported."""

    box: Weight = 2.0
    landmarks: Weight = 5.0
    mask: Weight = 0.5
    focus: Annotated[float, Field(gt=0)] = 2.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.998


class DetectorTask(Task[DetectorBatch]):
    """`encoder` is the trained network, `averaged` its moving average, which is exported."""

    cells: Tensor

    def __init__(self, net: DetectorNet, config: LossConfig, *, side_px: int) -> None:
        super().__init__(net, bn_mode="joint")
        self.config = config
        self.averaged = copy.deepcopy(net).requires_grad_(False)
        self.steps = 0
        self.register_buffer("cells", torch.from_numpy(cell_centres(side_px)), persistent=False)

    def forward(self, batch: DetectorBatch) -> Outcome:
        raw = self.raw(batch.images)
        face = batch.kinds > 0
        stride = self.cells[:, 2:]
        middle = self.cells[:, :2] + raw[..., 2:4] * stride
        half = raw[..., 4:6].clamp(-4.0, 6.0).exp() * stride / 2
        boxes = torch.cat([middle - half, middle + half], dim=-1)
        # Every term is per cell, weighted by `face`, so that no shape depends on the number of faces.
        weight = face.float()
        count = weight.sum().clamp(min=1.0)
        iou, giou = overlap(boxes, batch.boxes)
        box = ((1.0 - giou) * weight).sum() / count
        size = (batch.boxes[..., 2:] - batch.boxes[..., :2]).clamp(min=1.0).prod(dim=-1).sqrt()
        points = self.cells[:, :2].repeat(1, 5) + raw[..., 6:] * stride
        miss = (points - batch.landmarks).abs().mean(dim=-1) / size
        landmarks = (miss * weight).sum() / count
        score = quality_focal(raw[..., 0], iou.detach().clamp(0, 1).sqrt() * weight, self.config.focus)
        score = (score * (batch.kinds >= 0)).sum() / count
        labelled = weight * (batch.masked >= 0)
        mask = functional.binary_cross_entropy_with_logits(
            raw[..., 1], batch.masked.clamp(min=0).float(), reduction="none"
        )
        mask = (mask * labelled).sum() / labelled.sum().clamp(min=1.0)
        c = self.config
        loss = score + c.box * box + c.landmarks * landmarks + c.mask * mask
        parts = {"score": score, "box": box, "landmarks": landmarks, "mask": mask}
        return Outcome(loss, {}, {name: part.detach() for name, part in parts.items()})

    def raw(self, images: Tensor) -> Tensor:
        """Maps uint8 [B, side, side, 3] to raw values, float32 [B, cells, 16]."""
        x = (images.permute(0, 3, 1, 2).float() - 127.5) / 127.5
        return torch.cat([level.float().flatten(2) for level in self.encoder(x)], dim=2).transpose(1, 2)

    @torch.no_grad()
    def after_step(self, batch: DetectorBatch, outcome: Outcome) -> None:  # noqa: ARG002 - the loop's form
        done = batch.iteration + 1
        ema_update(self.averaged, self.encoder, min(self.config.ema, done / (done + WARM)))
        for old, new in zip(self.averaged.buffers(), self.encoder.buffers(), strict=True):
            old.copy_(new)


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns IoU and generalised IoU (arXiv 1902.09630, algorithm 1) of pairs of boxes [..., 4]:
    [...] each."""
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    around = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    inter, hull = shared.prod(dim=-1), around.prod(dim=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(dim=-1) + (b[..., 2:] - b[..., :2]).prod(dim=-1)
    union = areas - inter
    iou = inter / (union + EPS)
    return iou, iou - (hull - union) / (hull + EPS)


def quality_focal(logits: Tensor, quality: Tensor, focus: float) -> Tensor:
    """Returns |quality - sigmoid|^focus x cross entropy with the quality as target (arXiv 2006.04388,
    eq. 6)."""
    entropy = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return (quality - logits.sigmoid()).abs() ** focus * entropy
