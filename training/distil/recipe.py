"""The recipe of the built-in embedder's distillation, as strict TOML (`training.engine.recipe_file`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from faces.strict import Strict
from training.engine.loop import LoopConfig
from training.networks.backbone import BackboneConfig

Share = Annotated[float, Field(ge=0, le=1)]


class ViewsConfig(Strict):
    """`count`: unmasked views that the teacher labels, in whole parts of 4096. `clean`: their share of a
    batch; the rest are masked or pseudo-NIR pictures, whose target is the teacher's template of the
    photo itself. `grey`, `lit`: the probability that a clean view loses its colour, and that any view
    gets other light. `moved`: rotation and shift of the rest as a share of the mixtures': a detector's
    landmarks on a mask differ from those of the photo."""

    count: Annotated[int, Field(gt=0)] = 140_000
    batch: Annotated[int, Field(gt=1)] = 128
    clean: Share = 0.6
    grey: Share = 0.25
    lit: Share = 0.4
    moved: Annotated[float, Field(ge=0)] = 0.8


class DistilRecipe(Strict):
    """`pairwise`: weight of the error in all similarities of a batch; `maps`: weight of each map's error.
    `stages`: those of the network, counted from 0, whose maps learn from the teacher's."""

    backbone: BackboneConfig = BackboneConfig(kind="ir-small")
    views: ViewsConfig = ViewsConfig()
    pairwise: Annotated[float, Field(ge=0)] = 5.0
    maps: Annotated[float, Field(ge=0)] = 0.5
    stages: tuple[int, ...] = (2, 3)
    loop: LoopConfig = LoopConfig(iterations=8000, lr=3e-3, optimiser="adamw", schedule="cosine", warmup=200)
    seed: int = 0

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the maps of these stages; each stage halves the side, the first one included."""
        return tuple(self.backbone.side_px >> (stage + 1) for stage in self.stages)
