"""Runs the training: batches, steps, a moving average of the weights, checkpoints to resume from."""

from __future__ import annotations

import copy
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from faces.files import write_whole
from training.data.records import DataSetError
from training.engine.ema import ema_update
from training.engine.loop import LAST, LOG, Diverged
from training.matcher.adapter import adapt, merged
from training.matcher.batches import Batches, ProbeBatch
from training.matcher.objective import MatchObjective
from training.matcher.recipe import FineTuneRecipe
from training.matcher.store import Store
from training.matcher.teacher import as_trunk, input_of
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import save_encoder
from training.networks.imported import ImportedNet
from training.networks.layers import set_bn_mode, unit_rows

ENCODER, RECIPE = "encoder.pt", "recipe.json"
Forward = Callable[[Tensor], Tensor]


class FineTuning:
    """Everything a resumed run needs."""

    def __init__(
        self,
        store: Store,
        teacher: NDArray[np.float32],
        net: nn.Module,
        config: BackboneConfig,
        recipe: FineTuneRecipe,
        out: Path,
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.recipe, self.config, self.out = recipe, config, out
        # Batches of mostly masked NIR pictures would move the statistics away from what references need.
        set_bn_mode(net, "frozen")
        self.net = net.train()
        if isinstance(net, ImportedNet):
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            freeze(net, recipe.frozen)
            if recipe.adapter:
                adapt(net, recipe.adapter)
        elif recipe.frozen or recipe.adapter:
            raise DataSetError("`frozen` and `adapter` are settings for an imported trunk: set both to 0")
        self.average = copy.deepcopy(self.net).eval()
        seen = input_of(net)
        taught = np.abs(teacher).sum(1) > 0
        self.batches = Batches(
            store,
            recipe.batch,
            taught=taught,
            columns=seen.columns,
            size=seen.size,
            seed=recipe.seed,
            others=recipe.loss.prototypes.weight > 0,
        )
        subject = self.batches.people.subject
        rows = np.flatnonzero((subject >= 0) & taught)
        self.objective = MatchObjective(
            torch.from_numpy(teacher[rows]),
            torch.from_numpy(subject[rows]),
            torch.from_numpy(rows),
            recipe.loss,
            batch=recipe.batch.size,
        )
        groups: list[dict[str, Any]] = [
            {"params": list(self.net.parameters())},
            {"params": list(self.objective.parameters()), "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
        self.iteration = 0
        self._claim()

    def _claim(self) -> None:
        """One folder, one recipe; length and frozen layers may change. Raises DataSetError."""
        path = self.out / RECIPE
        if path.is_file():
            before = FineTuneRecipe.model_validate_json(path.read_bytes())
            free = {"iterations": self.recipe.iterations, "frozen": self.recipe.frozen}
            if before.model_copy(update=free) != self.recipe:
                raise DataSetError(f"{self.out.name} holds a run of another recipe: choose another folder")
        write_whole(path, self.recipe.model_dump_json(indent=1).encode())

    def resume(self) -> bool:
        """Go on from the last checkpoint; False where there is none."""
        path = self.out / LAST
        if not path.is_file():
            return False
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])
        self.iteration = int(state["iteration"])
        return True

    def save(self) -> None:
        """The checkpoint, and the averaged network as an encoder; each written whole."""
        buffer = io.BytesIO()
        state = {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": torch.get_rng_state(),
            "iteration": self.iteration,
        }
        torch.save(state, buffer)
        write_whole(self.out / LAST, buffer.getvalue())
        whole = merged(self.average) if isinstance(self.average, ImportedNet) else self.average
        save_encoder(self.out / ENCODER, whole, self.config)

    def run(self, *, compiled: bool = False, stop: Callable[[], bool] = lambda: False) -> None:
        """Learn until the recipe's end, or until `stop` says so after a step. Raises Diverged."""
        forward: Forward = lambda pixels: as_trunk(self.net, pixels)  # noqa: E731 - one of two
        if compiled:
            forward = torch.compile(forward, dynamic=False)
        began, since = time.monotonic(), self.iteration
        while self.iteration < self.recipe.iterations and not stop():
            line = self._step(forward)
            if self.iteration % self.recipe.log_every == 0:
                seconds = time.monotonic() - began
                rate = (self.iteration - since) * self.recipe.batch.size / max(seconds, 1e-6)
                self._log(line | {"pictures_per_s": round(rate, 2)})
                began, since = time.monotonic(), self.iteration
            if self.iteration % self.recipe.save_every == 0:
                self.save()
        self.save()

    def _step(self, forward: Forward) -> dict[str, float]:
        recipe = self.recipe
        batch = self.batches.batch(self.iteration)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(self.iteration)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            made = forward(batch.pixels)
        rows = unit_rows(made)
        prototypes = self._prototypes(batch)
        scored = self.objective(rows, batch.subject, batch.photo, batch.clear, prototypes)
        loss = float(scored.loss.detach())
        if loss != loss or abs(loss) == float("inf"):
            raise Diverged(f"the loss is {loss} at iteration {self.iteration}: choose a smaller lr")
        self.optimiser.zero_grad(set_to_none=True)
        scored.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), recipe.clip)
        self.optimiser.step()
        self.objective.enqueue(rows, batch.subject, prototypes)
        self.iteration += 1
        # In the first iterations the average follows faster.
        ema_update(self.average, self.net, min(recipe.ema, (1 + self.iteration) / (10 + self.iteration)))
        parts = {name: round(float(value), 4) for name, value in scored.parts.items()}
        return {"iteration": self.iteration, "loss": round(loss, 4), "norm": round(float(norm), 2), **parts}

    @torch.no_grad()
    def _prototypes(self, batch: ProbeBatch) -> Tensor | None:
        """The average's templates [B, d] of other photos, zeros for probes without; None if none are used."""
        if self.objective.prototypes is None:
            return None
        made = torch.zeros(len(batch.subject), self.objective.anchors.shape[1])
        if batch.others is not None:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bf16):
                rows = as_trunk(self.average, batch.others.pixels)
            made[batch.others.row] = unit_rows(rows).float()
        return made

    def _log(self, line: dict[str, float]) -> None:
        with (self.out / LOG).open("a") as stream:
            stream.write(json.dumps(line) + "\n")


def freeze(net: ImportedNet, layers: int) -> None:
    """The first layers of the file's graph are not learnt; a later run may take them up."""
    for node in net.config.graph.nodes[:layers]:
        for parameter in net.layers[node.key].parameters():
            parameter.requires_grad_(False)
