"""Distils the built-in embedder: labels first, then the student; both resume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from faces.bundle import read
from training.data.prepared import PreparedSet, Shards
from training.data.records import DataSetError
from training.distil.batches import DistilBatches, Harder, plain_rows
from training.distil.clean_views import Views
from training.distil.labels import LabelStore
from training.distil.recipe import DistilRecipe
from training.distil.task import MapDistil
from training.engine.compile import compile_networks
from training.engine.loop import OnStep, Training
from training.engine.prefetch import prefetch
from training.networks.checkpoint import load_start, save_encoder
from training.networks.ir import IrNet

ENCODER, LABELS = "encoder.pt", "labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """`out`: the run's folder; `teacher`: a bundle's folder; `start`: a checkpoint, which brings its own
    backbone, None for random weights; `compiled`: whether to compile, which needs a C++ compiler."""

    out: Path
    teacher: Path
    start: Path | None = None
    compiled: bool = False
    device: str = "cpu"


def distil(
    recipe: DistilRecipe,
    prepared: PreparedSet,
    options: RunOptions,
    *,
    on_step: OnStep | None = None,
) -> Path:
    """Trains the student; returns its checkpoint, which every save writes. Raises DataSetError, Diverged."""
    torch.manual_seed(recipe.seed)
    backbone = recipe.backbone
    net = backbone.build()
    if options.start is not None:
        net, backbone = load_start(options.start)
        recipe = recipe.model_copy(update={"backbone": backbone})
    if not isinstance(net, IrNet):
        raise DataSetError(f"maps are distilled into a residual network, not {backbone.kind}")
    batches, columns = _batches(recipe, prepared, options)
    first = batches.batch(0)
    task = MapDistil(
        net.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        stages=recipe.stages,
        teacher=first.teacher.shape[1],
        channels=tuple(one.shape[1] for one in first.maps),
        columns=columns,
        pairwise=recipe.pairwise,
        maps=recipe.maps,
    )
    if options.compiled:
        compile_networks(task.staged)
    training = Training(task, recipe.loop, out=options.out, device=options.device)
    training.resume()
    path = options.out / ENCODER

    training.run(
        prefetch(batches.batches(training.iteration), depth=6),
        on_step=on_step,
        on_save=lambda _: save_encoder(path, net, backbone),
    )
    return path


def _batches(
    recipe: DistilRecipe, prepared: PreparedSet, options: RunOptions
) -> tuple[DistilBatches, tuple[int, int] | None]:
    """The batches, and the columns of a crop that the teacher sees."""
    plain = plain_rows(prepared)
    views = Views(Shards(prepared.root, len(prepared.rows)), plain, recipe.seed)
    store = LabelStore(options.out / LABELS, views, options.teacher, sides=recipe.sides)
    store.make(recipe.views.count, bf16=recipe.loop.bf16, compiled=options.compiled)
    columns = read(options.teacher).manifest.encoder.columns
    batches = DistilBatches(views, Harder.of(prepared, plain), store.read(), recipe.views, seed=recipe.seed)
    return batches, columns
