"""The training loop. It knows steps, learning rates and checkpoints, and nothing of faces."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from faces.files import write_whole
from faces.strict import Strict
from training.engine.distributed import rank
from training.engine.task import BatchT, Task

LAST = "last.pt"
LOG = "log.jsonl"
# Shares of the run at which the learning rate falls to a tenth (docs/hsst.md, 1.1).
STEPS_AT = (0.6, 0.8)
# `OnStep` takes the iterations done and the last loss; `OnSave` takes the iteration of a checkpoint.
OnStep = Callable[[int, float], None]
OnSave = Callable[[int], None]


class LoopConfig(Strict):
    """Length, optimiser and learning rate of a run. `save_every`, `log_every`: in iterations."""

    iterations: Annotated[int, Field(gt=0)] = 10_000
    lr: Annotated[float, Field(gt=0)] = 5e-4
    optimiser: Literal["sgd", "adamw"] = "sgd"
    schedule: Literal["steps", "cosine"] = "steps"
    warmup: Annotated[int, Field(ge=0)] = 0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    bf16: bool = False
    save_every: Annotated[int, Field(gt=0)] = 500
    log_every: Annotated[int, Field(gt=0)] = 50

    def factor(self, iteration: int) -> float:
        """The learning rate at an iteration divided by `lr`."""
        if iteration < self.warmup:
            return (iteration + 1) / self.warmup
        done = iteration / self.iterations
        if self.schedule == "steps":
            return 0.1 ** sum(done >= at for at in STEPS_AT)
        return 0.5 * (1.0 + float(torch.cos(torch.tensor(done * torch.pi))))


class Diverged(RuntimeError):
    """The loss is not finite."""


def optimiser_for(task: Task[Any], config: LoopConfig) -> torch.optim.Optimizer:
    groups = task.groups(config.lr)
    for group in groups:
        group["first_lr"] = group["lr"]
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


class Training:
    """A task, its optimiser and the iteration: all state that a resumed run needs."""

    def __init__(self, task: Task[BatchT], config: LoopConfig, *, out: Path, device: str = "cpu") -> None:
        self.config, self.out, self.device = config, out, torch.device(device)
        self.task: Task[Any] = task.to(self.device)
        self.optimiser = optimiser_for(task, config)
        self.iteration = 0
        out.mkdir(parents=True, exist_ok=True)

    def resume(self) -> bool:
        """Loads the last checkpoint; returns False if there is none."""
        path = self.out / LAST
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.task.load_state_dict(state["task"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"].cpu())
        self.iteration = int(state["iteration"])
        return True

    def save(self) -> None:
        """Writes a checkpoint atomically: a killed process leaves the old one or the new one."""
        if rank():
            return
        buffer = io.BytesIO()
        state = {
            "task": self.task.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": torch.get_rng_state(),
            "iteration": self.iteration,
        }
        torch.save(state, buffer)
        write_whole(self.out / LAST, buffer.getvalue())

    def run(
        self,
        batches: Iterable[BatchT],
        *,
        step: torch.nn.Module | None = None,
        on_step: OnStep | None = None,
        on_save: OnSave | None = None,
    ) -> float:
        """Trains on batches that start at `self.iteration`; returns the mean loss of the last tenth.

        `step`: the task wrapped for several processes (DistributedDataParallel). `on_save`: called after each
        checkpoint in the process that writes it. A finished run calls it once more, because the process may
        have been killed between its last checkpoint and the call. Raises Diverged.
        """
        self.task.train()
        forward = step or self.task
        recent: list[float] = []
        if self.iteration >= self.config.iterations:
            self._report_save(on_save)
            return float("nan")
        for batch in batches:
            if self.iteration >= self.config.iterations:
                break
            loss, parts = self._step(forward, batch.to(self.device))
            self.iteration += 1
            if self.iteration > self.config.iterations * 0.9:
                recent.append(loss)
            if self.iteration % self.config.log_every == 0 and not rank():
                self._log(loss, parts)
            if self.iteration % self.config.save_every == 0 or self.iteration == self.config.iterations:
                self.save()
                self._report_save(on_save)
            if on_step is not None:
                on_step(self.iteration, loss)
        return sum(recent) / len(recent) if recent else float("nan")

    def _report_save(self, on_save: OnSave | None) -> None:
        if on_save is not None and not rank():
            on_save(self.iteration)

    def _step(self, forward: torch.nn.Module, batch: Any) -> tuple[float, dict[str, float]]:
        factor = self.config.factor(self.iteration)
        for group in self.optimiser.param_groups:
            group["lr"] = group["first_lr"] * factor
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            outcome = forward(batch)
        loss = float(outcome.loss.detach())
        if loss != loss or abs(loss) == float("inf"):
            raise Diverged(f"the loss is {loss} at iteration {self.iteration}: choose a smaller lr")
        self.optimiser.zero_grad(set_to_none=True)
        outcome.loss.backward()
        self.optimiser.step()
        self.task.after_step(batch, outcome)
        return loss, {name: float(value) for name, value in outcome.parts.items()}

    def _log(self, loss: float, parts: dict[str, float]) -> None:
        line = {"iteration": self.iteration, "loss": round(loss, 5)}
        line |= {name: round(value, 5) for name, value in parts.items()}
        with (self.out / LOG).open("a") as stream:
            stream.write(json.dumps(line) + "\n")
