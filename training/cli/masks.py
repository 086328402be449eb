"""`python -m training masks IN OUT`: masked versions of every picture below a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.cli.errors import exit_on_user_error
from training.synthesis.assets import BUILT_IN
from training.views.masked_pictures import SHEET_NAME, make_masks

console = Console()


def masks(
    source: Annotated[Path, typer.Argument(help="Folder of pictures.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Argument(help="Folder to write to.", file_okay=False)],
    bundle: Annotated[Path, typer.Option(help="Bundle whose detector finds the faces.")] = BUILT_IN,
    models: Annotated[Path | None, typer.Option(help="Folder of the face mesh's two files.")] = None,
    templates: Annotated[Path | None, typer.Option(help="Folder of masks.cfg and mask photos.")] = None,
    variants: Annotated[int, typer.Option(min=1, max=99, help="Masks for each picture.")] = 3,
    nir: Annotated[bool, typer.Option("--nir", help="Take every picture as near-infrared.")] = False,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="NIST's 24 masks in place of random ones.")
    ] = False,
    held_out: Annotated[bool, typer.Option("--held-out", help="Masks that training never wears.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random masks.")] = 0,
    sheet: Annotated[bool, typer.Option(help=f"Write {SHEET_NAME}.")] = True,
) -> None:
    """Put synthetic masks on every picture below a folder, by a 3D face mesh."""
    with exit_on_user_error(ValueError):
        report = make_masks(
            source,
            out,
            bundle=bundle,
            models=models,
            templates=templates,
            variants=variants,
            nir=nir,
            matrix=matrix,
            held_out=held_out,
            seed=seed,
            sheet=sheet,
        )
    for entry in report.unusable:
        console.print(f"not used: {entry.path}: {entry.reason}", markup=False)
    console.print(
        f"{report.written} masked pictures of {report.pictures} photos; {len(report.unusable)} not used"
    )
    if report.sheet is not None:
        console.print(f"before and after: {report.sheet}", markup=False)
    if report.pictures == 0:
        raise typer.Exit(1)
