"""What the trunk was pre-trained with, and where that differs from the paper's pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.engine.recipe_file import read_recipe
from training.finetune.recipe import differences
from training.networks.checkpoint import read_history
from training.pretrain.recipe import PretrainRecipe

# The paper says only this of the pre-training: MS1M-v1c, whose photos are visible and wear no mask.
PAPER_SET = "ms1m"


def trunk_departures(start: Path, recipe: str) -> tuple[str, ...]:
    """Returns what differs from the paper in the pre-training of `start`, as far as the file says it.

    `recipe`: that of the paper's pre-training. Raises DataSetError if `start` is no checkpoint.
    """
    if start.is_dir():
        return (f"trunk: the embedder of the bundle {start.name}, whose training is not known here",)
    history = read_history(start)
    if history is None:
        return ("trunk: its checkpoint does not say what it was pre-trained with",)
    paper = read_recipe(PretrainRecipe, recipe).model_dump(mode="json")
    found = [f"trunk: {text}" for text in differences(_said(history["recipe"]), _said(paper))]
    if not str(history["set"]).startswith(PAPER_SET):
        found.append(f"trunk: pre-trained on {history['set']} instead of MS1M-v1c")
    if history.get("start") is not None:
        found.append("trunk: its pre-training began at another network instead of random weights")
    return tuple(found)


def _said(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that decide whether a trunk knows masks and grey pictures, or another network's templates."""
    feed = recipe["feed"]
    return {"feed": {"p_mask": feed["p_mask"], "grey": feed["grey"]}, "distil": recipe["distil"]}
