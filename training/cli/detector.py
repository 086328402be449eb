"""`python -m training detector ...`: the built-in detector, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console
from rich.progress import Progress

from faces.bundle import read
from training.cli.errors import exit_on_user_error
from training.cli.progress import loss_bar
from training.data.lfw import Split
from training.data.photo_sources import Terms
from training.detector.candidates import open_candidate
from training.detector.collect import (
    Archives,
    PictureMaker,
    empty_scenes,
    masked_photos,
    open_shrunk,
    picture_sources,
)
from training.detector.evaluate import compare, evaluate_masked_photos, false_positives_per_scene
from training.detector.labels import Labeller
from training.detector.mine import mine_hard_negatives, read_hard_negatives, write_hard_negatives
from training.detector.pictures import Pictures, make_parts
from training.detector.recipe import DetectorRecipe
from training.detector.report import condition_table, masked_photo_table
from training.detector.run import RunOptions, train_detector
from training.detector.scores import competing_detections, fit_scores
from training.detector.trial_pictures import TrialPictureMaker, trial_photos, trial_sources
from training.engine.compile import check_compiler
from training.engine.recipe_file import read_recipe
from training.networks.onnx_runner import BundleRunner
from training.synthesis.assets import find_assets
from training.synthesis.mesh import MeshFitter
from training.views.conditions import ViewMaker

# Of photos that are tried: larger ones are shrunk, as the largest canvas would do.
LARGEST_PX = 2048
BUNDLE, RECIPE = Path(".halflight/bundles/reference"), "detector"

detector = typer.Typer(
    help="Make the built-in detector: pictures, train, trial, evaluate.", no_args_is_help=True
)


@detector.command()
def pictures(
    out: Annotated[Path, typer.Argument(help="folder of the pictures; a killed run goes on there")],
    lfw: Annotated[Path, typer.Option(help="the LFW archive; its training identities are taken")],
    extra: Annotated[Path | None, typer.Option(help="archive of further faces, with a list")] = None,
    worn: Annotated[Path | None, typer.Option(help="folder of photos of masked faces")] = None,
    empty: Annotated[Path | None, typer.Option(help="folder of scenes without faces")] = None,
    terms: Annotated[Terms, typer.Option(help="open: of the further faces only CC0 and CC-BY")] = Terms.ALL,
    further: Annotated[
        bool, typer.Option("--further", help="of LFW, only the photos otherwise left out")
    ] = False,
    validation: Annotated[
        bool, typer.Option("--validation", help="instead, every photo of validation identities as it is")
    ] = False,
    bundle: Annotated[Path, typer.Option(help="the bundle whose detector makes the labels")] = BUNDLE,
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    templates: Annotated[Path | None, typer.Option(help="folder of mask photos")] = None,
) -> None:
    """Label every photo by the reference detector; draw masks and pseudo-NIR."""
    console = Console(stderr=True)
    cv2.setNumThreads(1)
    with exit_on_user_error():
        maker = ViewMaker("training", models=models, templates=templates)
        picture_maker = PictureMaker(Labeller(bundle), BundleRunner(read(bundle)), maker)
        archives = Archives(
            lfw=lfw,
            extra=extra,
            worn=worn,
            empty=empty,
            terms=terms,
            further=further,
            validation=validation,
        )
        every = picture_sources(archives, picture_maker)
        with Progress(console=console) as progress:
            bar = progress.add_task("labelling", total=len(every))
            make_parts(out, every, on_part=lambda done: progress.update(bar, advance=done))
    console.print(f"{len(Pictures(out))} pictures")


@detector.command("train")
def train_command(
    pictures_folder: Annotated[Path, typer.Argument(metavar="PICTURES", help="what `pictures` made")],
    out: Annotated[Path, typer.Argument(help="folder of the run; a killed run goes on there")],
    more: Annotated[list[Path] | None, typer.Option(help="another folder of pictures")] = None,
    hard: Annotated[Path | None, typer.Option(help="what `mine` found in these pictures")] = None,
    recipe: Annotated[str, typer.Option(help="a .toml file, or a name of training/recipes")] = RECIPE,
    start: Annotated[Path | None, typer.Option(help="a detector's checkpoint to start from")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="threads of torch; 0: its own choice")] = 0,
    compiled: Annotated[bool, typer.Option(help="compile the network (needs a C++ compiler)")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the recipe")] = None,
) -> None:
    """Train on scenes composed of the pictures."""
    console = Console(stderr=True)
    cv2.setNumThreads(1)
    with exit_on_user_error():
        if compiled:
            check_compiler()
        chosen = read_recipe(DetectorRecipe, recipe, set_ or ())
        known = Pictures(pictures_folder, *(more or ()))
        places = () if hard is None else read_hard_negatives(hard)
        options = RunOptions(
            out=out, start=start, compiled=compiled, device=device, threads=threads, hard=places
        )
        with loss_bar(console, "training", total=chosen.loop.iterations) as step:
            made = train_detector(chosen, known, options, on_step=step)
    console.print(f"the detector's checkpoint: {made.name}")


@detector.command()
def mine(
    pictures_folder: Annotated[Path, typer.Argument(metavar="PICTURES", help="what `pictures` made")],
    candidate: Annotated[Path, typer.Argument(help="a bundle, or an .onnx file with its facts")],
    out: Annotated[Path, typer.Argument(help="a list of places (.jsonl)")],
    more: Annotated[list[Path] | None, typer.Option(help="another folder of pictures")] = None,
) -> None:
    """What a detector takes for faces in training pictures: `train --hard` shows it again and again."""
    console = Console(stderr=True)
    cv2.setNumThreads(1)
    with exit_on_user_error():
        known = Pictures(pictures_folder, *(more or ()))
        with Progress(console=console) as progress:
            bar = progress.add_task("looking", total=len(known))
            found = mine_hard_negatives(
                open_candidate(candidate), known, on_picture=lambda: progress.update(bar, advance=1)
            )
    write_hard_negatives(out, found)
    console.print(f"{len(found)} places")


@detector.command()
def trial(
    out: Annotated[Path, typer.Argument(help="folder of the trial pictures")],
    lfw: Annotated[Path, typer.Option(help="the LFW archive; its test identities are taken")],
    count: Annotated[int, typer.Option(min=1, help="identities, one photo of each")] = 600,
    validation: Annotated[bool, typer.Option("--validation", help="validation identities instead")] = False,
    bundle: Annotated[Path, typer.Option(help="the bundle whose detector makes the labels")] = BUNDLE,
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    templates: Annotated[Path | None, typer.Option(help="folder of mask photos")] = None,
) -> None:
    """Held-out photos in every condition; the held-out family of masks and pseudo-NIR for test identities."""
    console = Console(stderr=True)
    cv2.setNumThreads(1)
    split = Split.VALIDATION if validation else Split.TEST
    with exit_on_user_error():
        maker = ViewMaker("training" if validation else "held-out", models=models, templates=templates)
        picture_maker = PictureMaker(Labeller(bundle), BundleRunner(read(bundle)), maker)
        trial_maker = TrialPictureMaker(picture_maker, MeshFitter(find_assets(models).network))
        photos = trial_photos(lfw, split, count)
        with Progress(console=console) as progress:
            bar = progress.add_task("making pictures", total=len(photos))
            made = trial_sources(photos, trial_maker)
            make_parts(out, made, on_part=lambda done: progress.update(bar, advance=done))
    console.print(f"{len(Pictures(out))} pictures")


@detector.command()
def scores(
    pictures_folder: Annotated[Path, typer.Argument(metavar="TRIAL", help="what `trial --validation` made")],
    candidate: Annotated[Path, typer.Argument(help="a bundle, or an .onnx file with its facts")],
) -> None:
    """What a detector's score means, as the `calibration` of its facts or manifest."""
    console = Console(stderr=True)
    cv2.setNumThreads(1)
    with exit_on_user_error():
        known = Pictures(pictures_folder)
        with Progress(console=console) as progress:
            bar = progress.add_task("looking", total=len(known))
            found, truths = competing_detections(
                open_candidate(candidate), known, on_picture=lambda: progress.update(bar, advance=1)
            )
        calibration = fit_scores(found, truths, data=f"{len(known)} trial pictures of {pictures_folder.name}")
    typer.echo(calibration.model_dump_json())


@detector.command("evaluate")
def evaluate_command(
    pictures_folder: Annotated[Path, typer.Argument(metavar="TRIAL", help="what `trial` made")],
    candidates: Annotated[list[Path], typer.Argument(help="bundles, or .onnx files; the reference first")],
    worn: Annotated[Path | None, typer.Option(help="folder of photos of masked faces")] = None,
    empty: Annotated[Path | None, typer.Option(help="folder of scenes without faces")] = None,
    mosaics: Annotated[int, typer.Option(min=1, help="mosaics of each condition")] = 100,
) -> None:
    """Detectors beside one another, as Markdown tables."""
    cv2.setNumThreads(1)
    with exit_on_user_error():
        tried = [open_candidate(path) for path in candidates]
        typer.echo(condition_table(compare(tried, Pictures(pictures_folder), mosaics=mosaics)))
    if worn is not None and empty is not None:
        photos = [open_shrunk(path, largest_px=LARGEST_PX) for path in masked_photos(worn, held_out=True)]
        scenes = [open_shrunk(path, largest_px=LARGEST_PX) for path in empty_scenes(empty, held_out=True)]
        nothing = {one.name: false_positives_per_scene(one, scenes) for one in tried}
        typer.echo(masked_photo_table([evaluate_masked_photos(one, photos) for one in tried], nothing))
