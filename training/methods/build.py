"""Builds a task from its configuration."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from faces.strict import Strict
from training.methods.contrast import Contrast, ContrastConfig
from training.methods.distillation import Distilled
from training.methods.hsst import Hsst, HsstConfig
from training.methods.invariant import Invariant, InvariantConfig
from training.methods.pair_task import PairTask
from training.methods.plain import Plain, PlainConfig
from training.methods.sst import Sst, SstConfig

MethodConfig = Annotated[
    HsstConfig | PlainConfig | ContrastConfig | SstConfig | InvariantConfig, Field(discriminator="kind")
]


class TaskConfig(Strict):
    """A method; `distil`: the weight of template distillation beside it (0: none)."""

    method: MethodConfig = HsstConfig()
    distil: Annotated[float, Field(ge=0)] = 0.0

    @property
    def queue(self) -> int:
        """Queue columns whose subjects the sampler avoids; 0 without a queue, or if the task masks them."""
        method = self.method
        if isinstance(method, HsstConfig) and method.on_same_id == "mask":
            return 0
        return method.queue if isinstance(method, HsstConfig | SstConfig) else 0

    @property
    def wants_means(self) -> bool:
        """Whether heads start at the class means."""
        method = self.method
        return isinstance(method, InvariantConfig) or (isinstance(method, PlainConfig) and method.class_means)


def build_task(
    config: TaskConfig,
    encoder: nn.Module,
    *,
    dimension: int,
    classes: int,
    batch: int,
    seed: int,
    means: Tensor | None = None,
    teacher: int = 0,
) -> PairTask:
    """Builds the task. `means`: class means [classes, dimension] for heads that start there; `teacher`:
    dimension of its templates. Raises ValueError if the task needs either and it is missing."""
    method = config.method
    task: PairTask
    if isinstance(method, HsstConfig):
        task = Hsst(encoder, method, dimension=dimension, batch=batch, seed=seed)
    elif isinstance(method, SstConfig):
        task = Sst(encoder, method, dimension=dimension, batch=batch, seed=seed)
    elif isinstance(method, ContrastConfig):
        task = Contrast(encoder, method)
    else:
        made = (
            Plain(encoder, method, dimension=dimension, classes=classes)
            if isinstance(method, PlainConfig)
            else Invariant(encoder, method, dimension=dimension, classes=classes)
        )
        if config.wants_means:
            if means is None:
                raise ValueError("this task's head starts at class means, and none were given")
            made.start_at(means)
        task = made
    if config.distil:
        if not teacher:
            raise ValueError("distillation needs a teacher's templates")
        reached = method.shared if isinstance(method, InvariantConfig) else dimension
        task = Distilled(task, dimension=reached, teacher=teacher, weight=config.distil)
    return task
