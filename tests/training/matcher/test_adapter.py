"""Low-rank updates: nothing changes before training, little is learnt, and the merged network loads alone."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.training.matcher.parts import small_cache, small_trunk
from training.matcher.adapter import adapt, merged
from training.matcher.recipe import BatchRecipe, FineTuneRecipe
from training.matcher.run import ENCODER, FineTuning
from training.matcher.teacher import as_trunk, teach
from training.networks.checkpoint import load_network
from training.networks.imported import ImportedNet


def pixels() -> torch.Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)).mul(255)


def test_an_update_begins_at_nothing_and_is_merged_into_the_weights(tmp_path: Path) -> None:
    net, _ = small_trunk(tmp_path)
    before = as_trunk(net.eval(), pixels())
    adapt(net, 2)
    torch.testing.assert_close(as_trunk(net, pixels()), before)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05)
    changed = as_trunk(net, pixels())
    assert (changed - before).abs().max() > 1e-3
    alone, _ = small_trunk(tmp_path)
    alone.load_state_dict(merged(net).state_dict())
    torch.testing.assert_close(as_trunk(alone.eval(), pixels()), changed)


def test_a_run_of_an_adapter_moves_the_updates_and_the_last_matrix_alone(tmp_path: Path) -> None:
    store = small_cache(tmp_path / "cache")
    net, config = small_trunk(tmp_path)
    first = {name: value.clone() for name, value in net.state_dict().items()}
    teacher = teach(store, net, tmp_path / "teacher", bf16=False)
    batch = BatchRecipe(people=4, real=2, singles=2, clear=2)
    recipe = FineTuneRecipe(iterations=3, lr=1e-2, warmup=0, ema=0.0, bf16=False, adapter=2, batch=batch)
    run = FineTuning(store, teacher, net, config, recipe, tmp_path / "run")
    run.run()
    made, _ = load_network(tmp_path / "run" / ENCODER)
    assert isinstance(made, ImportedNet)
    moved = {name for name, value in made.state_dict().items() if not torch.equal(value, first[name])}
    convolutions = [name for name in first if name.endswith("weight")]
    assert moved >= set(convolutions)
    assert moved <= {*convolutions, convolutions[-1].replace("weight", "bias")}
    again = FineTuning(store, teacher, small_trunk(tmp_path)[0], config, recipe, tmp_path / "run")
    assert again.resume()
    assert again.iteration == 3
