"""`python -m training matcher ...`: the encoder of masked and NIR probes, step by step."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path
from typing import Annotated

import cv2
import torch
import typer
from rich.console import Console

from faces.types import CONDITIONS
from training.cli.errors import exit_on_user_error
from training.data.prepared import read_prepared
from training.data.records import DataSetError
from training.engine.compile import check_compiler
from training.engine.recipe_file import read_recipe
from training.matcher.build import Tools, build_cache
from training.matcher.gap import gap_lines
from training.matcher.measure import Embed, embed_set
from training.matcher.mix import mix
from training.matcher.overlap import EXCLUDED, exclude, watched
from training.matcher.probe_sets import FAMILIES, lfw_probes, real_probes
from training.matcher.recipe import FineTuneRecipe
from training.matcher.report import bundle_embed, checkpoint_embed, imported_embed, systems
from training.matcher.report import lines as table_lines
from training.matcher.rule import SETS, rule_lines
from training.matcher.run import FineTuning
from training.matcher.sources import Archives, rendered_shots, shots
from training.matcher.store import Store
from training.matcher.teacher import teach
from training.matcher.threshold_set import build_threshold_set
from training.matcher.variants import fusions, second_embeds, trunk_embeds
from training.networks.checkpoint import load_network
from training.networks.onnx_import import import_bundle
from training.networks.weights import load_weights
from training.views.set_builder import ViewAssets

RENDERED_HELP = "a set of `rendered-family --split train`"
BUNDLE = Path(".halflight/bundles/reference")
GAP_COLUMNS = ("condition", "probes", "run", "rank-1", "minus the first", "separation", "minus the first")
GAP_HEAD = f"| {' | '.join(GAP_COLUMNS)} |\n|{'---|' * len(GAP_COLUMNS)}"
RULE_HEAD = "| run | mean of the rule | minus the first |\n|---|---|---|"
HEAD = "| probes | condition | probes/people | system | rank-1 | TAR at FMR .1 % |\n|---|---|---|---|---|---|"

matcher = typer.Typer(
    help="Train the probes' encoder from an open trunk: cache, overlap, train, mix, probes, measure.",
    no_args_is_help=True,
)


@matcher.command()
def cache(
    out: Annotated[Path, typer.Argument(help="folder of the cache")],
    lfw: Annotated[Path, typer.Option(help="the LFW archive")],
    templates: Annotated[Path, typer.Option(help="folder of mask photos")],
    more: Annotated[Path | None, typer.Option(help="archive of aligned faces with subjects")] = None,
    extra: Annotated[Path | None, typer.Option(help="archive of further faces")] = None,
    real_masks: Annotated[Path | None, typer.Option(help="archive of real masks with subjects")] = None,
    masked_photos: Annotated[Path | None, typer.Option(help="folder of photos of real masks")] = None,
    rendered: Annotated[Path | None, typer.Option(help=RENDERED_HELP)] = None,
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    bundle: Annotated[Path, typer.Option(help="the bundle whose detector finds the faces")] = BUNDLE,
    worn: Annotated[int, typer.Option(min=0, help="mask layers of each photo of a named subject")] = 2,
    workers: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Frames, normal maps and mask layers of every photo that may be learnt from."""
    with exit_on_user_error():
        archives = Archives(lfw=lfw, more=more, extra=extra, real_masks=real_masks, rendered=rendered)
        tools = Tools(bundle=bundle, templates=templates, models=models, masked_photos=masked_photos)
        build_cache(shots(archives), out, tools, worn=worn, workers=workers)
    Console(stderr=True).print(f"the cache is in {out.name}")


@matcher.command()
def add(
    cache_folder: Annotated[Path, typer.Argument(metavar="CACHE", help="a finished cache")],
    rendered: Annotated[Path, typer.Option(help=RENDERED_HELP)],
    templates: Annotated[Path, typer.Option(help="folder of mask photos")],
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    bundle: Annotated[Path, typer.Option(help="the bundle whose detector finds the faces")] = BUNDLE,
    workers: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Add rendered subjects to a finished cache; not while a run reads it."""
    with exit_on_user_error():
        tools = Tools(bundle=bundle, templates=templates, models=models)
        build_cache(rendered_shots(rendered), cache_folder, tools, workers=workers, more=True)
    Console(stderr=True).print(f"{cache_folder.name} has {Store(cache_folder).facts.photos} photos")


@matcher.command()
def overlap(
    cache_folder: Annotated[Path, typer.Argument(metavar="CACHE", help="what `matcher cache` made")],
    lfw: Annotated[Path, typer.Option(help="the LFW archive")],
    real_masks: Annotated[Path | None, typer.Option(help="archive of real masks with subjects")] = None,
    bundle: Annotated[Path, typer.Option(help="the bundle whose embedder is the trunk")] = BUNDLE,
) -> None:
    """Leave out of training whoever looks like a person that is selected by or tested on."""
    with exit_on_user_error():
        store = Store(cache_folder)
        trunk, _ = import_bundle(bundle)
        teacher = teach(store, trunk, cache_folder / "teacher", bf16=True)
        lines = exclude(store, teacher, list(watched(lfw, real_masks, bundle)))
    Console(stderr=True).print(f"{len(lines)} people are left out: {EXCLUDED}")


@matcher.command()
def train(
    cache_folder: Annotated[Path, typer.Argument(metavar="CACHE", help="what `matcher cache` made")],
    out: Annotated[Path, typer.Argument(help="folder of the run; a killed run goes on there")],
    recipe: Annotated[str, typer.Option(help="a .toml file, or a name of training/recipes")] = "matcher",
    bundle: Annotated[Path, typer.Option(help="the bundle whose embedder is the trunk")] = BUNDLE,
    start: Annotated[Path | None, typer.Option(help="encoder to begin with; none: the trunk")] = None,
    network: Annotated[
        Path | None, typer.Option(help="checkpoint of a network to train in its own space, not the trunk")
    ] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    compiled: Annotated[bool, typer.Option(help="compile the network (needs a C++ compiler)")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the recipe")] = None,
) -> None:
    """Train the trunk, or another network, further as an encoder of probes; SIGTERM saves and ends it.

    A network's own templates of visible photos are the anchors, so references keep the network as it was.
    """
    console = Console(stderr=True)
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    with exit_on_user_error():
        if compiled:
            check_compiler()
        chosen = read_recipe(FineTuneRecipe, recipe, set_ or ())
        store = Store(cache_folder)
        trunk, config = import_bundle(bundle) if network is None else load_network(network)
        of = "teacher" if network is None else f"teacher-{_digest(network)}"
        teacher = teach(store, trunk, cache_folder / of, bf16=chosen.bf16)
        if start is not None:
            load_weights(trunk, start)
        run = FineTuning(store, teacher, trunk, config, chosen, out)
        console.print("going on" if run.resume() else "beginning", f"at iteration {run.iteration}")
        asked: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
        run.run(compiled=compiled, stop=lambda: bool(asked))
    console.print(f"{run.iteration} iterations; the encoder is {out.name}/encoder.pt")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@matcher.command("mix")
def mix_command(
    encoder: Annotated[Path, typer.Argument(help="encoder of a run")],
    out: Annotated[Path, typer.Argument(help="the mixed encoder")],
    share: Annotated[float, typer.Option(help="of the trained weights; the rest is the trunk's")] = 0.5,
    bundle: Annotated[Path, typer.Option(help="the bundle whose embedder is the trunk")] = BUNDLE,
    network: Annotated[Path | None, typer.Option(help="what `train --network` was given")] = None,
) -> None:
    """The weighted mean of the weights of a run and of the network it began with."""
    with exit_on_user_error(ValueError):
        first, _ = import_bundle(bundle) if network is None else load_network(network)
        mix(first, encoder, out, share=share)


@matcher.command()
def probes(
    out: Annotated[Path, typer.Argument(help="folder of the probe sets")],
    lfw: Annotated[Path, typer.Option(help="the LFW archive")],
    real_masks: Annotated[Path, typer.Option(help="archive of real masks with subjects")],
    templates: Annotated[Path, typer.Option(help="folder of mask photos")],
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    bundle: Annotated[Path, typer.Option(help="the bundle whose detector finds the faces")] = BUNDLE,
) -> None:
    """Validation people in every condition, by training's generators and by the held-out ones."""
    assets = ViewAssets(bundle=bundle, models=models, templates=templates)
    with exit_on_user_error():
        for family in FAMILIES:
            lfw_probes(lfw, out / f"lfw-{family}", family, assets)
            real_probes(real_masks, out / f"real-{family}", family, assets)


@matcher.command()
def thresholds(
    cache_folder: Annotated[Path, typer.Argument(metavar="CACHE", help="what `matcher cache` made")],
    out: Annotated[Path, typer.Argument(metavar="SET", help="folder of the set")],
    templates: Annotated[Path, typer.Option(help="folder of mask photos")],
    masked_photos: Annotated[Path | None, typer.Option(help="folder of photos of real masks")] = None,
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    bundle: Annotated[Path, typer.Option(help="the bundle whose detector finds the faces")] = BUNDLE,
    people: Annotated[int, typer.Option(min=0, help="so many alone; 0: all")] = 0,
    workers: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """People kept out of training in every condition, for `python -m export.recalibrate`."""
    tools = Tools(bundle=bundle, templates=templates, models=models, masked_photos=masked_photos)
    with exit_on_user_error():
        made = build_threshold_set(cache_folder, out, tools, people=people, workers=workers)
    Console(stderr=True).print(f"{len(made.rows)} crops in {out.name}")


@matcher.command()
def measure(
    sets: Annotated[Path, typer.Argument(help="what `matcher probes` made, and other prepared sets")],
    run: Annotated[
        list[Path] | None, typer.Option(help="encoder of a run; its folder's name is shown")
    ] = None,
    bundle: Annotated[Path, typer.Option(help="the bundle whose embedder is the trunk")] = BUNDLE,
    second: Annotated[
        Path | None, typer.Option(help="bundle that is fused with the trunk and the run")
    ] = None,
    kept: Annotated[Path | None, typer.Option(help="folder that keeps the templates")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Rank-1 and TAR at FMR .1 % of the trunk, of runs, and of each fused with a second network."""
    torch.set_num_threads(threads)
    with exit_on_user_error():
        trunk, _ = import_bundle(bundle)
        embeds = {"trunk": imported_embed(trunk)}
        if second is not None:
            embeds["second"] = bundle_embed(second)
        names = []
        for path in run or ():
            names.append(path.resolve().parent.name if path.stem == "encoder" else path.stem)
            embeds[names[-1]] = checkpoint_embed(path)
        chosen = systems(fused=second is not None, runs=names)
        print(HEAD)
        for line in table_lines(sets, embeds, kept, chosen):
            print(line)


@matcher.command()
def gap(
    sets: Annotated[Path, typer.Argument(help="what `matcher probes` made")],
    run: Annotated[list[Path], typer.Option(help="encoder of a run; others are compared with the first")],
    bundle: Annotated[Path, typer.Option(help="the bundle whose embedder is the trunk")] = BUNDLE,
    kept: Annotated[Path | None, typer.Option(help="folder that keeps the templates")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """How far runs' probes stand out among the trunk's references of LFW, by each family of generators."""
    torch.set_num_threads(threads)
    with exit_on_user_error():
        embeds = _compared(run, bundle)
        of = {str(name): embed_set(read_prepared(sets / f"lfw-{name}"), embeds, kept) for name in FAMILIES}
        print(GAP_HEAD)
        for line in gap_lines(of, "trunk", list(embeds), CONDITIONS[1:]):
            print(line)


def _compared(runs: list[Path], bundle: Path) -> dict[str, Embed]:
    """The encoders of runs by the names of their folders, and the trunk as the last."""
    names = [path.resolve().parent.name for path in runs]
    if len(set(names)) < len(names) or "trunk" in names:
        raise DataSetError("the folders of the runs need names of their own: they are shown by them")
    trunk, _ = import_bundle(bundle)
    return dict(zip(names, map(checkpoint_embed, runs), strict=True)) | {"trunk": imported_embed(trunk)}


@matcher.command()
def rule(
    sets: Annotated[Path, typer.Argument(help="what `matcher probes` made")],
    run: Annotated[list[Path], typer.Option(help="encoder of a run; others are compared with the first")],
    bundle: Annotated[Path, typer.Option(help="the bundle whose embedder is the trunk")] = BUNDLE,
    kept: Annotated[Path | None, typer.Option(help="folder that keeps the templates")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """The mean that selects a run, for runs' probes among the trunk's references, and paired differences."""
    torch.set_num_threads(threads)
    with exit_on_user_error():
        embeds = _compared(run, bundle)
        of = {name: embed_set(read_prepared(sets / name), embeds, kept) for name in SETS}
        print(RULE_HEAD)
        for line in rule_lines(of, "trunk", list(embeds)):
            print(line)


@matcher.command()
def variants(
    sets: Annotated[Path, typer.Argument(help="what `matcher probes` made, and other prepared sets")],
    reference: Annotated[Path, typer.Option(help="encoder of references and clear visible probes")],
    probe: Annotated[Path, typer.Option(help="encoder of masked and NIR probes")],
    second: Annotated[Path, typer.Option(help="checkpoint that both are fused with")],
    share: Annotated[list[float] | None, typer.Option(help="of the second in the squared norm")] = None,
    kept: Annotated[Path | None, typer.Option(help="folder that keeps the templates")] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Rank-1 and TAR at FMR .1 % of the fused pair, with and without each network's mirrored pass."""
    torch.set_num_threads(threads)
    with exit_on_user_error():
        names = (f"{reference.stem}-as-reference", probe.stem, second.parent.name)
        embeds = trunk_embeds(names[0], reference) | trunk_embeds(names[1], probe)
        embeds |= second_embeds(names[2], second)
        print(HEAD)
        chosen = [system for each in share or (0.2,) for system in fusions(*names, each)]
        for line in table_lines(sets, embeds, kept, chosen):
            print(line)
