"""`python -m training detector verifier ...`: a small network that judges doubtful detections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console
from rich.progress import Progress

from faces.types import Image
from training.cli.errors import exit_on_user_error
from training.cli.progress import loss_bar
from training.detector.candidates import open_candidate
from training.detector.collect import empty_scenes, open_shrunk
from training.detector.doubts import Example, of_empty, of_pictures, of_scenes, read_doubts, write_doubts
from training.detector.mine import write_hard_negatives
from training.detector.pictures import Pictures
from training.detector.recipe import DetectorRecipe
from training.detector.run import load_detector
from training.detector.sampler import HardNegative
from training.detector.verdicts import Verifier, fit_rule, judge
from training.detector.verifier import load_verifier
from training.detector.verifier_run import VerifierRecipe, train_verifier
from training.engine.recipe_file import read_recipe

# Scenes without faces are shown as large as the service would.
LARGEST_PX = 2048
PLACES, RECIPE = "places.jsonl", "detector-verifier"

# Detections that score less or more are left to the detector.
LEAST, BELOW = 0.4, 0.75
MOST_FALSE = 0.01
# Chosen on real masks of training people and on training scenes (docs/detector.md).
ALONE = 1.8

verifier = typer.Typer(help="Make the detector's verifier: examples, train, fit.", no_args_is_help=True)


def training_scenes(folder: Path) -> list[Image]:
    """Returns the scenes without faces that training may see, as large as the service would."""
    return [open_shrunk(path, largest_px=LARGEST_PX) for path in empty_scenes(folder, held_out=False)]


@verifier.command()
def examples(
    pictures_folder: Annotated[Path, typer.Argument(metavar="PICTURES", help="what `pictures` made")],
    candidate: Annotated[Path, typer.Argument(help="a bundle, or an .onnx file with its facts")],
    out: Annotated[Path, typer.Argument(help="a folder for the examples")],
    more: Annotated[list[Path] | None, typer.Option(help="another folder of pictures")] = None,
    empty: Annotated[Path | None, typer.Option(help="folder of scenes without faces")] = None,
    parts: Annotated[int, typer.Option(min=0, help="random parts of each scene without faces")] = 60,
    scenes: Annotated[int, typer.Option(min=0, help="composed scenes")] = 10_000,
    recipe: Annotated[
        str, typer.Option(help="the detector's recipe that composes scenes")
    ] = "detector-careful",
    seed: Annotated[int, typer.Option(help="seed of what is drawn")] = 0,
) -> None:
    """What a detector takes for faces in training pictures and scenes, with the truth."""
    console = Console(stderr=True)
    cv2.setNumThreads(1)
    with exit_on_user_error():
        known, detector = Pictures(pictures_folder, *(more or ())), open_candidate(candidate)
        chosen = read_recipe(DetectorRecipe, recipe, ())
        found: list[Example] = []
        places: list[HardNegative] = []
        images = [] if empty is None else training_scenes(empty)
        with Progress(console=console) as progress:
            bar = progress.add_task("looking", total=len(known) + scenes + len(images))
            for made, false in of_pictures(detector, known, seed=seed):
                found += made
                places += false
                progress.update(bar, advance=1)
            composed = of_scenes(
                detector,
                known,
                (chosen.scenes, chosen.camera),
                hard=places,
                side_px=chosen.side_px,
                count=scenes,
                seed=seed + 1,
            )
            for made in composed:
                found += made
                progress.update(bar, advance=1)
            for made in of_empty(detector, images, parts=parts, seed=seed + 2):
                found += made
                progress.update(bar, advance=1)
        write_doubts(out, found)
        write_hard_negatives(out / PLACES, places)
    true = sum(is_face for _, is_face, _ in found)
    console.print(f"{true} faces, {len(found) - true} others")


@verifier.command("train")
def train_command(
    folders: Annotated[list[Path], typer.Argument(metavar="EXAMPLES", help="what `examples` made")],
    out: Annotated[Path, typer.Option(help="folder of the run; a killed run goes on there")],
    recipe: Annotated[str, typer.Option(help="a .toml file, or a name of training/recipes")] = RECIPE,
    start: Annotated[Path | None, typer.Option(help="a detector's checkpoint to start from")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N")] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="threads of torch; 0: its own choice")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the recipe")] = None,
) -> None:
    """Train a verifier on the examples."""
    console = Console(stderr=True)
    cv2.setNumThreads(1)
    with exit_on_user_error():
        chosen = read_recipe(VerifierRecipe, recipe, set_ or ())
        known = [read_doubts(folder) for folder in folders]
        with loss_bar(console, "training", total=chosen.loop.iterations) as step:
            made = train_verifier(
                chosen,
                known,
                out,
                start=None if start is None else load_detector(start),
                device=device,
                threads=threads,
                on_step=step,
            )
    console.print(f"the verifier's checkpoint: {made.name}")


@verifier.command()
def fit(
    pictures_folder: Annotated[Path, typer.Argument(metavar="TRIAL", help="what `trial --validation` made")],
    candidate: Annotated[Path, typer.Argument(help="a bundle, or an .onnx file with its facts")],
    checkpoint: Annotated[Path, typer.Argument(help="what `train` made")],
    more: Annotated[list[Path] | None, typer.Option(help="another folder of such pictures")] = None,
    empty: Annotated[Path | None, typer.Option(help="folder of scenes without faces")] = None,
    least: Annotated[float, typer.Option(min=0.3, max=0.99, help="lowest doubtful score")] = LEAST,
    below: Annotated[float, typer.Option(min=0.31, max=1.0, help="scores from here on are faces")] = BELOW,
    alone: Annotated[float, typer.Option(min=0, help="for a picture without any clear face")] = ALONE,
    most_false: Annotated[float, typer.Option(min=0, help="false faces a picture, at most")] = MOST_FALSE,
) -> None:
    """How a score and a verdict make one score, as the rule that `python -m export.verifier` takes."""
    console = Console(stderr=True)
    cv2.setNumThreads(1)
    with exit_on_user_error():
        detector, known = open_candidate(candidate), Pictures(pictures_folder, *(more or ()))
        net, config = load_verifier(checkpoint)
        scenes = [] if empty is None else training_scenes(empty)
        with Progress(console=console) as progress:
            bar = progress.add_task("looking", total=len(known) + len(scenes))
            judged = judge(
                detector,
                Verifier(net, config),
                known,
                scenes,
                on_picture=lambda: progress.update(bar, advance=1),
            )
        rule = fit_rule(
            judged,
            least=least,
            below=below,
            most_false=most_false,
            alone=alone,
            threshold=detector.runner.spec.score_threshold,
            data=f"{len(known)} validation pictures and {len(scenes)} training scenes",
        )
    typer.echo(rule.model_dump_json())
