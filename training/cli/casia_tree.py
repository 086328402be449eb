"""`python -m training synthesise casia ROOT`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.cli.errors import exit_on_user_error
from training.engine.progress import Reporter
from training.synthesis.rendered.casia_tree import SYNTHETIC, write_casia_tree
from training.synthesis.rendered.model import load_model

# CASIA NIR-VIS 2.0 has 725 subjects and 17,580 pictures: about 7 VIS and 17 NIR of each.
SUBJECTS, VIS, NIR = 714, 7, 17
# So that a crop of 144 px has about the scale of the picture.
SIZE_PX = 192


def casia_tree(
    root: Annotated[Path, typer.Argument(help="folder in the layout of CASIA NIR-VIS 2.0; resumable")],
    facekit: Annotated[Path, typer.Option(help="the ICT FaceKit folder")],
    subjects: Annotated[int, typer.Option(min=2, help="half of them train in each fold")] = SUBJECTS,
    vis: Annotated[int, typer.Option(min=1, help="visible pictures of each")] = VIS,
    nir: Annotated[int, typer.Option(min=1, help="NIR pictures of each")] = NIR,
    seed: Annotated[int, typer.Option(help="another seed is other people")] = 1,
    size: Annotated[int, typer.Option(min=64, help="side of a picture in pixels")] = SIZE_PX,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 1,
) -> None:
    """Render subjects in the layout of CASIA NIR-VIS 2.0, with its protocols: no real person."""
    with exit_on_user_error(ValueError):
        model = load_model(facekit)
        with Reporter(Console(stderr=True)) as progress:
            write_casia_tree(
                root,
                model,
                subjects=subjects,
                vis=vis,
                nir=nir,
                seed=seed,
                size_px=size,
                workers=workers,
                on_subject=lambda done, all_: progress.show("rendering", done, all_),
            )
    Console().print(f"SYNTHETIC: {SYNTHETIC}; {subjects} subjects in {root}", markup=False, soft_wrap=True)
