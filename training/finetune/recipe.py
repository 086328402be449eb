"""What decides a fine-tuning run but its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from faces.strict import Strict
from training.data.augment import Augmentation
from training.engine.loop import LoopConfig
from training.engine.recipe_file import read_recipe
from training.methods.build import TaskConfig
from training.networks.backbone import BackboneConfig


class Validation(Strict):
    """`every`: iterations between two evaluations on validation subjects, 0 for none. `held_out`: number of
    training subjects that become validation subjects; 0 if the set has a validation split of its own."""

    every: Annotated[int, Field(ge=0)] = 0
    held_out: Annotated[int, Field(ge=0)] = 0


class Recipe(Strict):
    """`backbone`: used with random weights; a checkpoint to start from brings its own. `batch`: subjects of
    one step over all processes, with two photos each. `p_mask`: the probability of a masked NIR photo.
    `grey_probes`: a control that learns from the VIS photo of the same source in grey in place of the NIR
    photo, so that nothing but colour is taken away."""

    task: TaskConfig
    loop: LoopConfig = LoopConfig()
    backbone: BackboneConfig = BackboneConfig()
    batch: Annotated[int, Field(gt=0)] = 64
    p_mask: Annotated[float, Field(ge=0, le=1)] = 1.0
    augment: Augmentation = Augmentation()
    grey_probes: bool = False
    seed: int = 0
    validation: Validation = Validation()

    def images_seen(self, iterations: int) -> int:
        return 2 * self.batch * iterations

    def facts(self) -> dict[str, Any]:
        """The recipe as JSON, without the graph of an imported backbone, which stays with its weights."""
        return self.model_dump(mode="json", exclude={"backbone": {"imported"}})


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A fine-tuning recipe. `name`: a file's path, or a name of `recipes/`; `overrides`: merged over it.

    Raises RecipeError naming the file and the key.
    """
    return read_recipe(Recipe, name, overrides)


def shortened(recipe: Recipe, iterations: int) -> Recipe:
    """The recipe in fewer or more iterations.

    1 - ema keeps its ratio to the length of the run (docs/hsst.md, 4.2), and the warm-up keeps its share.
    """
    ratio = recipe.loop.iterations / iterations
    method = recipe.task.method
    ema = getattr(method, "ema", None)
    if ema is not None:
        slower = method.model_copy(update={"ema": max(0.0, 1.0 - (1.0 - ema) * ratio)})
        recipe = recipe.model_copy(update={"task": recipe.task.model_copy(update={"method": slower})})
    warmup = round(recipe.loop.warmup / ratio)
    loop = recipe.loop.model_copy(update={"iterations": iterations, "warmup": warmup})
    return recipe.model_copy(update={"loop": loop})


def differences(of: Mapping[str, Any], against: Mapping[str, Any]) -> tuple[str, ...]:
    """Lines such as `loop.iterations = 200 instead of 10000` for every fact that differs."""
    mine, theirs = dict(_flat(of)), dict(_flat(against))
    keys = [key for key in {**theirs, **mine} if mine.get(key) != theirs.get(key)]
    return tuple(f"{key} = {_shown(mine.get(key))} instead of {_shown(theirs.get(key))}" for key in keys)


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(tables: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value
