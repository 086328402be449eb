"""`python -m training scenes`: pseudo-NIR beside real NIR pictures of scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.data.records import DataSetError
from training.research.likeness import MEASURES
from training.research.scenes import check_scenes
from training.synthesis.nir import TrainNir


def scenes(
    directory: Annotated[Path, typer.Argument(help="Folder of NNNN_rgb.jpg and NNNN_nir.jpg.")],
    seed: Annotated[int, typer.Option(help="Seed of the generator's draws.")] = 0,
) -> None:
    """Compare the training pseudo-NIR and two plain baselines with registered real NIR scenes."""
    try:
        report = check_scenes(directory, TrainNir(), seed=seed)
    except DataSetError as error:
        raise typer.BadParameter(str(error)) from error
    table = Table(title=f"{len(report.pairs)} registered scene pairs (not faces), mean [95 % bootstrap]")
    table.add_column("candidate")
    for measure in MEASURES:
        table.add_column(measure, justify="right")
    for candidate in report.candidates:
        table.add_row(candidate.name, *(str(candidate.mean(measure)) for measure in MEASURES))
    first = report.candidates[0]
    for other in report.candidates[1:3]:
        gains = (str(first.gain_over(other, measure)) for measure in MEASURES)
        table.add_row(f"{first.name} - {other.name}", *gains)
    Console().print(table)
