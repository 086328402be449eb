"""The settings of a matcher run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from faces.strict import Strict
from training.methods.losses import LossConfig
from training.synthesis.spectra import EVERYTHING, Ingredient

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class BatchRecipe(Strict):
    """Rows of one batch: of people with several photos, of people with real masks, of single photos, clear
    visible views that hold the network near its trunk, and NIR views of rendered subjects.

    `nir_masked`, `vis_masked`: shares of the drawn masks; what is left is NIR without a mask. `real_nir`: how
    often a real mask is shown in NIR.
    """

    people: Annotated[int, Field(ge=0)] = 34
    real: Annotated[int, Field(ge=0)] = 10
    singles: Annotated[int, Field(ge=0)] = 12
    clear: Annotated[int, Field(ge=0)] = 8
    rendered: Annotated[int, Field(ge=0)] = 0
    nir_masked: Share = 0.5
    vis_masked: Share = 0.22
    real_nir: Share = 0.55
    ingredients: frozenset[Ingredient] = EVERYTHING
    terms_open: bool = False

    @property
    def size(self) -> int:
        return self.people + self.real + self.singles + self.clear + self.rendered

    @model_validator(mode="after")
    def _shares(self) -> BatchRecipe:
        if self.nir_masked + self.vis_masked > 1 or self.size < 2:
            raise ValueError("a batch has two rows at least, and shares of one at most")
        return self


class SubjectsRecipe(Strict):
    """A softmax with a margin over all subjects with two or more references; at a weight of 0 there is none.

    `loss`: its margin and scale, `am` or `arc`; AM's default margin is .35.
    """

    weight: Weight = 0.0
    loss: LossConfig = LossConfig(name="am")

    @model_validator(mode="after")
    def _classes(self) -> SubjectsRecipe:
        if self.loss.name == "triplet":
            raise ValueError("a triplet has no classes: choose softmax, am or arc")
        return self


class PrototypesRecipe(Strict):
    """HSST's queue of prototypes, made by the average of the weights; at a weight of 0 there is none.

    `queue`: columns, a multiple of the batch; `loss`: of a probe among them.
    """

    weight: Weight = 0.0
    loss: LossConfig = LossConfig(name="am")
    queue: Annotated[int, Field(gt=0)] = 512


class LossRecipe(Strict):
    """Weights of the terms of `training.matcher.objective`. `scale`, `margin`: of the softmax; `queue`:
    earlier probes that references are told apart from; `subjects`, `prototypes`: two more terms, off unless
    they are given a weight."""

    scale: Annotated[float, Field(gt=0)] = 32.0
    margin: Weight = 0.1
    forward: Weight = 1.0
    backward: Weight = 0.5
    threshold: Weight = 0.25
    pull: Weight = 2.0
    hold: Weight = 4.0
    queue: Annotated[int, Field(ge=0)] = 2048
    subjects: SubjectsRecipe = SubjectsRecipe()
    prototypes: PrototypesRecipe = PrototypesRecipe()


class FineTuneRecipe(Strict):
    """The whole run. `cooldown`: the last share of all iterations, in which the rate falls to nothing;
    `ema`: weight of the old average; `frozen`: first layers of the trunk that stay as they are; `adapter`:
    rank of the updates if these and the last matrix alone are learnt, 0 to learn all layers."""

    iterations: Annotated[int, Field(gt=0)] = 20_000
    lr: Annotated[float, Field(gt=0)] = 2e-4
    warmup: Annotated[int, Field(ge=0)] = 200
    cooldown: Share = 0.25
    weight_decay: Weight = 1e-4
    clip: Annotated[float, Field(gt=0)] = 5.0
    ema: Share = 0.998
    frozen: Annotated[int, Field(ge=0)] = 0
    adapter: Annotated[int, Field(ge=0)] = 0
    bf16: bool = True
    seed: int = 0
    save_every: Annotated[int, Field(gt=0)] = 100
    log_every: Annotated[int, Field(gt=0)] = 20
    batch: BatchRecipe = BatchRecipe()
    loss: LossRecipe = LossRecipe()

    @model_validator(mode="after")
    def _queue(self) -> FineTuneRecipe:
        columns = self.loss.prototypes.queue
        if self.loss.prototypes.weight and columns % self.batch.size:
            raise ValueError(
                f"loss.prototypes.queue holds whole batches: {columns} is no multiple of {self.batch.size}"
            )
        return self

    def rate(self, iteration: int) -> float:
        """Learning rate of an iteration: warm up, stay, cool down."""
        if iteration < self.warmup:
            return self.lr * (iteration + 1) / self.warmup
        left = (self.iterations - iteration) / max(self.cooldown * self.iterations, 1.0)
        return self.lr * min(1.0, max(left, 0.0))
