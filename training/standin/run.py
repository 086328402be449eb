"""One arm, one seed, one learning rate: train from the trunk, then find the probes."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from faces.files import write_whole
from faces.types import Spectrum
from training.backbones.encoder import BackboneConfig, TorchEncoder, load_network, save_encoder
from training.class_means import class_means
from training.data.feed import PairFeed, ahead, in_grey
from training.data.pairs import PairRequest, PairSampler
from training.data.prepared import PreparedSet, Split
from training.data.records import DataSetError
from training.encoders import CropEncoder
from training.evaluation.closed_set import Found, closed_set
from training.loop import LoopConfig, Training
from training.standin.arms import Arm
from training.tasks.build import build_task
from training.tasks.invariant import InvariantConfig

RESULT, ENCODER = "result.json", "encoder.pt"


class RunConfig(BaseModel):
    """What all arms share: images seen are `2 x batch x iterations` in each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iterations: int = 1000
    batch: int = 16
    p_mask: float = 0.7
    lr: float = 1e-2
    seed: int = 0
    compiled: bool = False
    bf16: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What a trained arm is tried on."""

    name: str
    prepared: PreparedSet
    split: Split


class GreyFeed(PairFeed):
    """The NIR photo's place is taken by the VIS photo of the same source, in grey."""

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


def described(found: Sequence[Found]) -> dict[str, Any]:
    """As it is written down: hits and probes of each subject, in the set's order."""
    return {
        one.condition: {
            "hits": one.hits.hits.tolist(),
            "probes": one.hits.probes.tolist(),
            "rank1": round(100 * one.hits.rate, 2),
        }
        for one in found
    }


def _means(
    encoder: CropEncoder, prepared: PreparedSet, sampler: PairSampler, kept: Path | None
) -> torch.Tensor:
    """Class means of the trunk: the same for every arm and seed, so they are made once."""
    if kept is None:
        return class_means(encoder, prepared, sampler)
    if not kept.is_file():
        buffer = io.BytesIO()
        torch.save(class_means(encoder, prepared, sampler), buffer)
        write_whole(kept, buffer.getvalue())
    found: torch.Tensor = torch.load(kept, weights_only=True)
    if len(found) != len(sampler.subjects):
        raise DataSetError(f"{kept.name} is of another set: choose another folder")
    return found


def run_arm(
    arm: Arm,
    prepared: PreparedSet,
    trunk: Path,
    config: RunConfig,
    *,
    out: Path,
    tests: Sequence[Trial],
    teacher: NDArray[np.float32] | None = None,
    means: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train and evaluate; the result is also written to `out`.

    `means`: a file that keeps the trunk's class means from run to run.
    """
    started = time.perf_counter()
    torch.manual_seed(config.seed)
    net, backbone = load_network(trunk)
    # Convolutions of bfloat16 and of float32 alike are faster so on CPUs and GPUs of today.
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = float("nan")
    if arm.task is not None:
        net, loss = _train(
            arm, prepared, net, backbone, config, out=out, teacher=teacher, kept=means, on_step=on_step
        )
        method = arm.task.method
        if isinstance(method, InvariantConfig):
            backbone = backbone.model_copy(update={"shared": method.shared})
        save_encoder(out / ENCODER, net, backbone)
        # Read back, so that what is tried is what was written, and nothing is compiled again.
        net, backbone = load_network(out / ENCODER)
    encoder = TorchEncoder(net, backbone, name=arm.name)
    result = {
        "arm": arm.name,
        **config.model_dump(),
        "loss": loss,
        "seconds": round(time.perf_counter() - started, 1),
        "found": {test.name: described(closed_set(encoder, test.prepared, test.split)) for test in tests},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / RESULT, json.dumps(result).encode())
    return result


def _train(
    arm: Arm,
    prepared: PreparedSet,
    net: torch.nn.Module,
    backbone: BackboneConfig,
    config: RunConfig,
    *,
    out: Path,
    teacher: NDArray[np.float32] | None,
    kept: Path | None,
    on_step: Callable[[int, float], None] | None,
) -> tuple[torch.nn.Module, float]:
    assert arm.task is not None  # noqa: S101 - the caller's condition
    sampler = PairSampler(
        prepared,
        split="train",
        batch=config.batch,
        queue=arm.task.queue,
        p_mask=config.p_mask,
        seed=config.seed,
    )
    means = None
    if arm.task.wants_means:
        means = _means(TorchEncoder(net, backbone, name="trunk"), prepared, sampler, kept)
    task = build_task(
        arm.task,
        net,
        dimension=backbone.dimension,
        classes=len(sampler.subjects),
        batch=config.batch,
        seed=config.seed,
        means=means,
        teacher=0 if teacher is None else teacher.shape[1],
    )
    if config.compiled:
        # Graphs of earlier runs in this process would count towards the limit of compilations.
        torch._dynamo.reset()
        backbone_of(task.encoder, arm).compile(dynamic=False)
        for name, part in task.named_modules():
            if name.endswith("gallery"):
                part.compile(dynamic=False)
    feed = (GreyFeed if arm.grey else PairFeed)(
        prepared, sampler, side_px=backbone.side_px, teacher=teacher if arm.task.distil else None
    )
    loop = LoopConfig(
        iterations=config.iterations,
        lr=config.lr,
        save_every=config.iterations,
        log_every=50,
        warmup=min(50, config.iterations // 10),
        bf16=config.bf16,
    )
    training = Training(task, loop, out=out)
    training.resume()
    left = config.iterations - training.iteration
    loss = training.run(ahead(islice(feed.batches(training.iteration), left)), on_step=on_step)
    return task.encoder, loss


def backbone_of(encoder: torch.nn.Module, arm: Arm) -> torch.nn.Module:
    """What is worth compiling: the backbone, without the matrix that IDR and W-CNN put behind it."""
    if arm.task is not None and isinstance(arm.task.method, InvariantConfig):
        return encoder.get_submodule("backbone")
    return encoder
