"""Trains one arm with one seed and one learning rate from the trunk, and evaluates it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from faces.files import write_whole
from faces.strict import Strict
from faces.types import Spectrum
from training.data.augment import in_grey
from training.data.pair_loader import PairLoader
from training.data.pairs import PairRequest
from training.data.prepared import PreparedSet, Split
from training.engine.loop import LoopConfig
from training.evaluation.closed_set import ConditionRank1, closed_set
from training.finetune.fine_tuning import FineTuning
from training.finetune.recipe import Recipe
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network
from training.networks.torch_encoder import TorchEncoder
from training.research.standin.arms import Arm

RESULT, ENCODER = "result.json", "encoder.pt"


class RunConfig(Strict):
    """What all arms share. An arm sees `2 x batch x iterations` images."""

    iterations: int = 1000
    batch: int = 16
    p_mask: float = 0.7
    lr: float = 1e-2
    seed: int = 0
    compiled: bool = False
    bf16: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationSet:
    """A split that a trained arm is evaluated on. `name`: its key in the result."""

    name: str
    prepared: PreparedSet
    split: Split


class GreyPairLoader(PairLoader):
    """Gives the VIS photo of the same source, in grey, in place of the NIR photo."""

    def requests(self, start: int) -> Iterator[tuple[PairRequest, ...]]:
        by_source = {
            row.source: i
            for i, row in enumerate(self.prepared.rows)
            if row.spectrum is Spectrum.VIS and not row.masked
        }
        for pairs in super().requests(start):
            yield tuple(
                PairRequest(p.label, by_source[self.prepared.rows[p.nir].source], p.vis) for p in pairs
            )

    def nir_input(self, images: torch.Tensor) -> torch.Tensor:
        return in_grey(images)


def counts_by_condition(found: Sequence[ConditionRank1]) -> dict[str, Any]:
    """Returns the result's entry: by condition, hits and probes of each subject in the set's order."""
    return {
        one.condition: {
            "hits": one.counts.successes.tolist(),
            "probes": one.counts.probes.tolist(),
            "rank1": round(100 * one.counts.rate, 2),
        }
        for one in found
    }


def run_arm(
    arm: Arm,
    prepared: PreparedSet,
    trunk: Path,
    config: RunConfig,
    *,
    out: Path,
    tests: Sequence[EvaluationSet],
    teacher: NDArray[np.float32] | None = None,
    means: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Trains and evaluates an arm; returns the result, which is also written to `out`.

    `means`: a file that keeps the trunk's class means from run to run. `teacher` float32 [rows, T]: its
    templates by row of the set, for an arm that distils.
    """
    started = time.perf_counter()
    torch.manual_seed(config.seed)
    net, backbone = load_network(trunk)
    loss = float("nan")
    if arm.task is not None:
        tuning = _tuning(arm, prepared, net, backbone, config, out=out, teacher=teacher, means=means)
        loss = tuning.run(on_step)
        tuning.save(out / ENCODER)
        # Read back, so that the written file is evaluated, and nothing is compiled again.
        net, backbone = load_network(out / ENCODER)
    encoder = TorchEncoder(net, backbone, name=arm.name)
    result = {
        "arm": arm.name,
        **config.model_dump(),
        "loss": loss,
        "seconds": round(time.perf_counter() - started, 1),
        "found": {
            test.name: counts_by_condition(closed_set(encoder, test.prepared, test.split)) for test in tests
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / RESULT, json.dumps(result).encode())
    return result


def _tuning(
    arm: Arm,
    prepared: PreparedSet,
    net: torch.nn.Module,
    backbone: BackboneConfig,
    config: RunConfig,
    *,
    out: Path,
    teacher: NDArray[np.float32] | None,
    means: Path | None,
) -> FineTuning:
    assert arm.task is not None  # noqa: S101 - the caller's condition
    loop = LoopConfig(
        iterations=config.iterations,
        lr=config.lr,
        save_every=config.iterations,
        log_every=50,
        warmup=min(50, config.iterations // 10),
        bf16=config.bf16,
    )
    recipe = Recipe(
        task=arm.task,
        loop=loop,
        backbone=backbone,
        batch=config.batch,
        p_mask=config.p_mask,
        seed=config.seed,
    )
    return FineTuning(
        recipe,
        net,
        prepared,
        out=out,
        templates=None if teacher is None else lambda _: teacher,
        means=means,
        loader=GreyPairLoader if arm.grey else PairLoader,
        compiled=config.compiled,
    )
