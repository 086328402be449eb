"""What decides the distillation of the built-in embedder but its photos, as strict TOML."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from faces.strict import Strict
from training.engine.loop import LoopConfig
from training.networks.backbone import BackboneConfig

Share = Annotated[float, Field(ge=0, le=1)]


class ViewsConfig(Strict):
    """`count`: views without a mask that the teacher labels, whole parts of 4096. `clean`: their share of a
    batch; the rest are masked or pseudo-NIR pictures of a photo, taught what the teacher makes of the photo
    itself. `grey`: how often a clean view loses its colour; `lit`: how often any view gets other light.
    `moved`: how far the others are turned and shifted, as a share of what mixtures are: a detector's
    landmarks on a mask are not those of the photo."""

    count: Annotated[int, Field(gt=0)] = 140_000
    batch: Annotated[int, Field(gt=1)] = 128
    clean: Share = 0.6
    grey: Share = 0.25
    lit: Share = 0.4
    moved: Annotated[float, Field(ge=0)] = 0.8


class DistilRecipe(Strict):
    """`pairwise`: weight of the error in all similarities of a batch; `maps`: weight of each map's error.
    `stages`: of the network, counted from 0, whose maps learn from the teacher's."""

    backbone: BackboneConfig = BackboneConfig(kind="ir-small")
    views: ViewsConfig = ViewsConfig()
    pairwise: Annotated[float, Field(ge=0)] = 5.0
    maps: Annotated[float, Field(ge=0)] = 0.5
    stages: tuple[int, ...] = (2, 3)
    loop: LoopConfig = LoopConfig(iterations=8000, lr=3e-3, optimiser="adamw", schedule="cosine", warmup=200)
    seed: int = 0

    @property
    def sides(self) -> tuple[int, ...]:
        """Of the maps of these stages: each stage has half the side of the one before, the first a half."""
        return tuple(self.backbone.side_px >> (stage + 1) for stage in self.stages)
