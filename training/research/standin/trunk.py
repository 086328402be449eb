"""Distils the trunk, which every arm starts from, from the reference embedder on LFW training photos.

Teacher and student see the same geometry: crops, their mirror images, and mixtures of two faces. The teacher
labels each image once. The student's view differs in gain, offset and, in one of five, colour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from faces.strict import Strict
from faces.types import Pixels
from training.data.augment import Augmentation, augment
from training.data.network_input import network_input
from training.data.prepared import PreparedSet
from training.engine.compile import compile_networks
from training.engine.loop import LoopConfig, Training
from training.engine.prefetch import prefetch
from training.methods.distillation import Distil, TaughtBatch
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import save_encoder
from training.networks.teacher import Teacher, Vectors, cached, embed_all

AT_ONCE = 2000


class TrunkConfig(Strict):
    """The settings of the trunk. `mixtures`: how many pairs of faces are blended, at 25 to 75 %."""

    backbone: BackboneConfig = BackboneConfig(kind="ir-compact", side_px=48)
    iterations: Annotated[int, Field(gt=0)] = 7000
    batch: Annotated[int, Field(gt=1)] = 128
    mixtures: Annotated[int, Field(ge=0)] = 30_000
    lr: Annotated[float, Field(gt=0)] = 3e-3
    grey: Annotated[float, Field(ge=0, le=1)] = 0.2
    seed: int = 0
    compiled: bool = False
    bf16: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """The training images float32 [n, 3, side, side] and the teacher's templates of them float32 [n, T]."""

    images: torch.Tensor
    templates: Vectors


def label_images(prepared: PreparedSet, bundle: Path, config: TrunkConfig, cache: Path) -> LabelledImages:
    """Labels training crops, their mirror images and mixtures with the teacher's templates.

    Templates cost far more than images, so they are kept in `cache`, a file for each part.
    """
    crops = prepared.crops(prepared.select(split="train"))
    teacher, side = Teacher(bundle), config.backbone.side_px
    rng = np.random.default_rng(config.seed)
    cache.mkdir(parents=True, exist_ok=True)
    images, templates = [], []
    for number, (label, made) in enumerate(_views(crops, config.mixtures, rng)):
        images.append(network_input(made, side))
        path = cache / f"{teacher.spec.reference.sha256[:12]}-{config.seed}-{number:04d}.npy"
        templates.append(
            cached(path, len(made), partial(embed_all, teacher, made, label=f"teacher: {label}"))
        )
    return LabelledImages(torch.cat(images), np.concatenate(templates))


def _views(crops: Pixels, mixtures: int, rng: np.random.Generator) -> Iterator[tuple[str, Pixels]]:
    yield "photos", crops
    yield "mirrored", crops[:, :, ::-1]
    for start in range(0, mixtures, AT_ONCE):
        n = min(AT_ONCE, mixtures - start)
        a, b = (crops[rng.integers(len(crops), size=n)].astype(np.float32) for _ in range(2))
        share = rng.uniform(0.25, 0.75, (n, 1, 1, 1)).astype(np.float32)
        yield f"mixtures {start + n} of {mixtures}", (a * share + b * (1 - share)).round().astype(np.uint8)


def batches(labelled: LabelledImages, config: TrunkConfig, start: int) -> Iterator[TaughtBatch]:
    """Yields the batches from iteration `start` on; a batch depends on seed and iteration alone.

    Nothing is mirrored here: the teacher has labelled mirror images as images of their own.
    """
    augmentation = Augmentation(grey=config.grey, mirror=False)
    for iteration in range(start, config.iterations):
        rng = np.random.default_rng([config.seed, iteration])
        chosen: NDArray[np.int64] = rng.integers(len(labelled.images), size=config.batch)
        images = augment(labelled.images[chosen], rng, augmentation)
        yield TaughtBatch(iteration, images, torch.from_numpy(labelled.templates[chosen]))


def train_trunk(
    labelled: LabelledImages,
    config: TrunkConfig,
    out: Path,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> Path:
    """Distils, from the last checkpoint in `out` if there is one; returns the encoder's file."""
    torch.manual_seed(config.seed)
    net: torch.nn.Module = config.backbone.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.compiled:
        compile_networks(net)
    dimension = config.backbone.dimension
    task = Distil(net, dimension=dimension, teacher=labelled.templates.shape[1])
    loop = LoopConfig(
        iterations=config.iterations,
        lr=config.lr,
        optimiser="adamw",
        schedule="cosine",
        warmup=min(100, config.iterations // 10),
        weight_decay=0.02,
        save_every=200,
        bf16=config.bf16,
    )
    training = Training(task, loop, out=out)
    training.resume()
    training.run(prefetch(batches(labelled, config, training.iteration)), on_step=on_step)
    path = out / "trunk.pt"
    save_encoder(path, net, config.backbone)
    return path
