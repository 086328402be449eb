"""`python -m training rendered-family`: rendered subjects as a prepared set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import print as rich_print

from faces.bundle import BundleError
from faces.bundle import read as read_bundle
from training.data.prepared import Split
from training.networks.onnx_runner import BundleRunner
from training.synthesis.rendered.family import SIZE_PX, render_family
from training.synthesis.rendered.model import FaceKitError, load_model
from training.synthesis.rendered.pictures import Views


def rendered_family(
    out: Annotated[Path, typer.Argument(help="Folder of the prepared set.")],
    facekit: Annotated[Path, typer.Option(help="The ICT FaceKit folder.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle whose detector finds the faces; none: exact landmarks.")
    ] = None,
    subjects: Annotated[int, typer.Option(min=1)] = 200,
    vis: Annotated[int, typer.Option(min=0, help="Visible views of each subject.")] = 2,
    nir: Annotated[int, typer.Option(min=0, help="NIR views without a mask.")] = 2,
    nir_masked: Annotated[int, typer.Option(min=0, help="NIR views with a mask.")] = 2,
    seed: Annotated[int, typer.Option(help="Another seed is other people.")] = 1,
    split: Annotated[str, typer.Option(help="train, validation, test or none.")] = "test",
    size: Annotated[int, typer.Option(min=64, help="Side of a picture in pixels.")] = SIZE_PX,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Render subjects of the ICT FaceKit in both spectra into a prepared set."""
    chosen: dict[str, Split] = {"train": "train", "validation": "validation", "test": "test", "none": "none"}
    if split not in chosen:
        raise typer.BadParameter(f"{split} is none of {', '.join(chosen)}", param_hint="--split")
    try:
        model = load_model(facekit)
        detector = None if bundle is None else BundleRunner(read_bundle(bundle))
        views = Views(vis=vis, nir=nir, nir_masked=nir_masked)
    except (FaceKitError, BundleError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    made = render_family(
        out,
        model,
        subjects=subjects,
        views=views,
        seed=seed,
        split=chosen[split],
        size_px=size,
        detector=detector,
        workers=workers,
    )
    rich_print(f"{len(made.rows)} crops of {subjects} rendered subjects, {len(made.refused)} refused")
