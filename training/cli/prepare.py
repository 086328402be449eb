"""`python -m training prepare DATASET ROOT OUT`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from faces.align import MIN_INTER_EYE_PX
from faces.types import Spectrum
from training.cli.errors import exit_on_user_error
from training.data.prepared import REFUSED_FILE
from training.data.registry import LOADERS, LoadOptions, load_data_set
from training.engine.progress import Reporter
from training.synthesis.assets import BUILT_IN
from training.views.masking import MaskedSpectra, MaskEngine, MaskFamily, MaskOptions
from training.views.prepare import Prepared, PrepareOptions, cores, prepare_set
from training.views.prepare_sample import WorkOptions

FINDINGS_SHOWN = 20
NAMES = "; ".join(f"{name}: {entry.summary}" for name, entry in LOADERS.items())


def prepare(
    dataset: Annotated[str, typer.Argument(help=NAMES)],
    root: Annotated[Path, typer.Argument(help="the data set's folder, or LFW's tar")],
    out: Annotated[Path, typer.Argument(help="folder of the prepared set; a killed run goes on there")],
    bundle: Annotated[Path, typer.Option(help="the bundle whose detector is used")] = BUILT_IN,
    alignment: Annotated[str, typer.Option(help="arcface-112 or arcface-144")] = "arcface-112",
    masks: Annotated[MaskedSpectra, typer.Option(help="whose pictures also get a masked copy")] = "none",
    engine: Annotated[
        MaskEngine, typer.Option(help="how masks are put on; uv: as the paper's Eq. 4")
    ] = "mesh",
    mask_family: Annotated[
        MaskFamily, typer.Option(help="split: test pictures wear held-out masks")
    ] = "split",
    templates: Annotated[Path | None, typer.Option(help="folder with masks.cfg and its photos")] = None,
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    fold: Annotated[int | None, typer.Option(help="one fold alone, with its split in the rows")] = None,
    validation: Annotated[
        int, typer.Option(min=0, help="training subjects held out for validation and thresholds")
    ] = 0,
    split: Annotated[Path | None, typer.Option(help="a split written by an earlier run")] = None,
    seed: Annotated[int, typer.Option(help="of drawn splits and masks")] = 0,
    min_inter_eye_px: Annotated[float, typer.Option(help="smaller faces are refused")] = MIN_INTER_EYE_PX,
    subset: Annotated[bool, typer.Option("--subset", help="use what is there; the rest is listed")] = False,
    workers: Annotated[int, typer.Option(help="processes; 0: one for each core")] = 0,
    again: Annotated[bool, typer.Option("--again", help="throw away what an earlier run made")] = False,
) -> None:
    """Detect, align, crop and mask a data set. Pictures that cannot be used are listed in refused.jsonl."""
    console, errors = Console(), Console(stderr=True)
    mask_options = MaskOptions(
        masked=masks, engine=engine, family=mask_family, models=models, templates=templates
    )
    work = WorkOptions(
        alignment=alignment, seed=seed, min_inter_eye_px=min_inter_eye_px, bundle=bundle, masks=mask_options
    )
    options = PrepareOptions(
        dataset=dataset,
        work=work,
        fold=fold,
        validation=validation,
        workers=workers or cores(),
        again=again,
    )
    with exit_on_user_error():
        source = load_data_set(dataset, root, LoadOptions(strict=not subset, seed=seed, split=split))
        with Reporter(errors) as progress:
            made = prepare_set(
                source, out, options, on_part=lambda done, all_: progress.show("preparing", done, all_)
            )
    report(made, console)
    if not made.found.rows:
        errors.print("[red]no picture could be used[/red]")
        raise typer.Exit(1)


def report(made: Prepared, console: Console) -> None:
    """The summary: crops and refusals of each spectrum, findings, digests of drawn splits."""
    found = made.found
    lost = Counter((r.spectrum, r.code) for r in found.refused)
    codes = sorted({code for _, code in lost})
    if made.cached:
        console.print("the set was finished already; nothing was done")
    title = f"{found.info.name}, {found.info.alignment}"
    table = Table("spectrum", "unmasked", "masked", "subjects", *codes, title=title)
    for spectrum in Spectrum:
        rows = [row for row in found.rows if row.spectrum == spectrum]
        masked = sum(row.masked for row in rows)
        figures = [len(rows) - masked, masked, len({row.subject for row in rows})]
        figures += [lost[spectrum, code] for code in codes]
        table.add_row(spectrum.name, *map(str, figures))
    console.print(table)
    if made.notes.located:
        how = ", ".join(f"{count} {name}" for name, count in made.notes.located.items())
        console.print(f"faces of the crops: {how}")
    if found.refused:
        console.print(f"{len(found.refused)} refusals are listed in {REFUSED_FILE}")
    for text in made.notes.findings[:FINDINGS_SHOWN]:
        console.print(f"[yellow]note[/yellow] {escape(text)}", soft_wrap=True)
    if len(made.notes.findings) > FINDINGS_SHOWN:
        console.print(f"{len(made.notes.findings) - FINDINGS_SHOWN} more notes in notes.json")
    for name, digest in made.notes.splits.items():
        console.print(f"split {name}: SHA-256 {digest}", soft_wrap=True)
    if found.info.synthetic:
        console.print(f"[bold]SYNTHETIC[/bold]: {escape(found.info.synthetic)}", soft_wrap=True)
