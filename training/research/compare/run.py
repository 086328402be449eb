"""Trains and evaluates one arm on one fold, with one seed at one learning rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from faces.rates.resampling import BOOTSTRAPS
from training.data.pairs import paired_subjects
from training.data.records import DataSetError
from training.engine.devices import OnDevice
from training.engine.loop import OnStep
from training.evaluation.pools import split_pool
from training.finetune.recipe import Recipe, differences, load_recipe, shortened
from training.finetune.run import ENCODER, RunOptions, check_alignment, train_recipe
from training.methods.invariant import InvariantConfig
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_network
from training.networks.initial_weights import initial_digest, load_initial
from training.networks.torch_encoder import TorchEncoder
from training.research.compare.measure import measure
from training.research.compare.plan import Arm, Plan
from training.research.compare.result import RESULT, Result, read_result
from training.research.compare.sets import SetPaths, Sets, open_sets, tests_of
from training.research.compare.trunk import trunk_departures

# Of an embedding, in the paper.
DIMENSION = 512
QUEUE = "task.method.queue"
VALIDATION = "validation"
# The name of the test subjects, the crops embedded so far, and all of them.
OnEmbedded = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the caller asks for beside the plan; it is small enough to send to worker processes.

    `start`: the trunk, a checkpoint or a bundle's folder; `teacher`: a bundle, for arms that distil;
    `iterations`, `batch`: shorter runs than the plan's; `changes`: `key=value` over every recipe; `rates`:
    learning rates to choose from, none: the recipe's own.
    """

    sets: SetPaths
    start: Path
    out: Path
    device: str = "cpu"
    teacher: Path | None = None
    iterations: int | None = None
    batch: int | None = None
    changes: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()
    bootstraps: int = BOOTSTRAPS
    compiled: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One run. `fold`: its place among the folds; `rate`: None is the recipe's own."""

    arm: Arm
    fold: int
    seed: int
    rate: float | None


def start_backbone(start: Path) -> BackboneConfig:
    """The backbone of the trunk. Raises DataSetError."""
    return load_initial(start, dimension=DIMENSION)[1]


def recipes_of(plan: Plan, job: Job, settings: Settings, backbone: BackboneConfig) -> tuple[Recipe, Recipe]:
    """Returns the recipe to run and the plan's own. Raises RecipeError."""
    if job.arm.recipe is None:
        raise ValueError(f"{job.arm.name} is the start, without a recipe")
    own = load_recipe(job.arm.recipe, (*plan.file.set, *job.arm.changes))
    if plan.file.iterations is not None:
        own = shortened(own, plan.file.iterations)
    sizes = _sizes(own, settings.batch or plan.file.batch or own.batch, plan.file.queue)
    rate = () if job.rate is None else (f"loop.lr={job.rate!r}",)
    changes = (*plan.file.set, *job.arm.changes, *sizes, *rate, *settings.changes, f"seed={job.seed}")
    ran = load_recipe(job.arm.recipe, changes).model_copy(update={"backbone": backbone})
    length = settings.iterations or plan.file.iterations
    if length is not None:
        ran = shortened(ran, length)
    return _fitted(ran), own


def _sizes(recipe: Recipe, batch: int, queue: int | None) -> tuple[str, ...]:
    """The changes of batch and queue: queues keep their length in batches, unless the plan fixes it."""
    if not recipe.task.queue:
        return (f"batch={batch}",)
    return (f"batch={batch}", f"{QUEUE}={queue or recipe.task.queue * batch // recipe.batch}")


def _fitted(recipe: Recipe) -> Recipe:
    """Lets IDR and W-CNN share three quarters of a feature that is too small for the paper's share."""
    method, dimension = recipe.task.method, recipe.backbone.dimension
    if not isinstance(method, InvariantConfig) or method.shared < dimension:
        return recipe
    smaller = method.model_copy(update={"shared": 3 * dimension // 4})
    return recipe.model_copy(update={"task": recipe.task.model_copy(update={"method": smaller})})


def check(plan: Plan, settings: Settings) -> None:
    """Checks everything that can be known before the first run: sets, crop sizes, recipes, queues, teacher.

    Raises DataSetError or RecipeError.
    """
    sets, backbone = open_sets(settings.sets), start_backbone(settings.start)
    for prepared in sets:
        check_alignment(prepared, backbone)
    if len(settings.rates) > 1:
        split_pool(sets.folds[0].prepared, "validation")
    subjects = min(len(paired_subjects(fold.prepared, "train")) for fold in sets.folds)
    for arm in plan.arms:
        if arm.recipe is None:
            continue
        recipe, _ = recipes_of(plan, Job(arm, 0, 0, None), settings, backbone)
        if max(recipe.task.queue, recipe.batch) > subjects:
            raise DataSetError(
                f"{arm.name}: {subjects} training subjects do not fill a batch of {recipe.batch} or a queue"
                f" of {recipe.task.queue}: choose a smaller --batch, or leave it out (--arm)"
            )
        if recipe.task.distil and settings.teacher is None:
            raise DataSetError(f"{arm.name} distils: give the teacher's bundle with --teacher")


def slug(name: str) -> str:
    """Returns a name of an arm or a fold as the name of a folder."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.replace("+", " plus")).split()).lower()


def run_job(
    plan: Plan,
    job: Job,
    settings: Settings,
    *,
    on_step: OnStep | None = None,
    on_embedded: OnEmbedded | None = None,
) -> Result:
    """Trains on the fold's train split, evaluates the written encoder on every test split; keeps the result.

    A finished run is not run again, only evaluated on tests that it lacks. Raises DataSetError if it was
    finished with other settings.
    """
    sets = open_sets(settings.sets)
    fold = sets.folds[job.fold]
    rate = "start" if job.arm.recipe is None else "own" if job.rate is None else f"{job.rate:g}"
    place = settings.out / slug(job.arm.name) / slug(fold.name) / f"seed{job.seed}-lr{rate}"
    own = fold.prepared
    before = read_result(place / RESULT)
    first = _first(plan, job, settings, sets)
    if before is not None:
        _check_same(before, first)
        first = before
    elif job.arm.recipe is not None:
        options = RunOptions(
            out=place,
            start=settings.start,
            teacher=settings.teacher,
            compiled=settings.compiled,
            device=torch.device(settings.device),
            cache=settings.out / "cache",
        )
        recipe, _ = recipes_of(plan, job, settings, start_backbone(settings.start))
        record = train_recipe(recipe, own, options, on_step=on_step)
        facts = {"loss": record.loss, "commit": record.commit, "device": record.device}
        facts |= {"seconds": record.seconds, "images_seen": record.images_seen}
        first = first.model_copy(update=facts)
    wanted = tests_of(sets, own)
    if len(settings.rates) > 1 and job.arm.recipe is not None:
        wanted.append((VALIDATION, own))
    missing = [(name, prepared) for name, prepared in wanted if name not in first.found]
    if not missing:
        return first
    encoder = _encoder(job, place, settings)
    found = dict(first.found)
    for name, prepared in missing:
        report = None if on_embedded is None else partial(on_embedded, name)
        found[name] = measure(
            encoder,
            prepared,
            "validation" if name == VALIDATION else "test",
            fars=() if name == VALIDATION else plan.file.fars,
            bootstraps=settings.bootstraps,
            on_embedded=report,
        )
    result = first.model_copy(update={"found": found})
    place.mkdir(parents=True, exist_ok=True)
    result.write(place)
    return result


def _first(plan: Plan, job: Job, settings: Settings, sets: Sets) -> Result:
    """The facts of a run before it begins."""
    departures: tuple[str, ...] = ()
    recipe = None
    if plan.file.trunk is not None:
        departures = trunk_departures(settings.start, plan.file.trunk)
    if job.arm.recipe is not None:
        ran, own = recipes_of(plan, job, settings, start_backbone(settings.start))
        recipe = ran.facts()
        departures += tuple(
            text
            for text in differences(recipe, own.facts())
            # The seeds and rates of the plan are no departures from it.
            if not (text.startswith("loop.lr ") and job.rate in plan.file.rates)
            and not (text.startswith("seed ") and job.seed in plan.file.seeds)
        )
    return Result(
        arm=job.arm.name,
        fold=sets.folds[job.fold].name,
        seed=job.seed,
        lr=0.0 if recipe is None else recipe["loop"]["lr"],
        found={},
        synthetic=sets.synthetic,
        departures=departures,
        recipe=recipe,
        start=initial_digest(settings.start),
    )


def _encoder(job: Job, place: Path, settings: Settings) -> TorchEncoder:
    if job.arm.recipe is None:
        net, config = load_initial(settings.start, dimension=DIMENSION)
    else:
        net, config = load_network(place / ENCODER)
    device = torch.device(settings.device)
    return TorchEncoder(OnDevice(net.to(device), device), config, name=job.arm.name)


def _check_same(found: Result, asked: Result) -> None:
    differs = list(differences(found.recipe or {}, asked.recipe or {}))
    differs += ["one of the two is synthetic"] if found.synthetic != asked.synthetic else []
    differs += ["from another checkpoint"] if found.start != asked.start else []
    if differs:
        raise DataSetError(f"{found.arm} was finished otherwise ({differs[0]}): choose another folder")
