"""The command `python -m export`."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from export.build import Exported, Fusion, Request, export_bundle
from export.calibrate import lines_of
from export.card import About, read_about, read_report
from export.graph import ExportError
from export.operating_points import FMR_POINTS, Unsupported
from export.variants import LEAST_COSINE, Variant
from faces.bundle import BundleError
from training.data.prepared import Split, read_prepared
from training.data.records import DataSetError
from training.synthesis.assets import BUILT_IN


class VariantName(StrEnum):
    """Precisions of the encoder."""

    FP32 = "fp32"
    FP16_WEIGHTS = "fp16-weights"
    FP16 = "fp16"
    INT8 = "int8"


class SplitName(StrEnum):
    """Splits that thresholds may be calibrated on: never the test split."""

    VALIDATION = "validation"
    TRAIN = "train"
    NONE = "none"


_VARIANTS: dict[VariantName, Variant] = {
    VariantName.FP32: "fp32",
    VariantName.FP16_WEIGHTS: "fp16-weights",
    VariantName.FP16: "fp16",
    VariantName.INT8: "int8",
}
_SPLITS: dict[SplitName, Split] = {
    SplitName.VALIDATION: "validation",
    SplitName.TRAIN: "train",
    SplitName.NONE: "none",
}


def export(
    checkpoint: Annotated[Path, typer.Argument(help="an encoder's .pt checkpoint")],
    out: Annotated[Path, typer.Option(help="directory of the bundle")],
    variant: Annotated[VariantName, typer.Option(help="precision of the encoder")] = VariantName.FP32,
    reference: Annotated[
        Path | None,
        typer.Option(help="checkpoint of references and clear visible probes; the other is for the rest"),
    ] = None,
    fuse: Annotated[Path | None, typer.Option(help="checkpoint that the networks are fused with")] = None,
    share: Annotated[
        float, typer.Option(help="with --fuse: its part of the squared norm", min=0, max=1)
    ] = 0.2,
    dimension: Annotated[int, typer.Option(help="with --fuse: of a template, at most", min=8)] = 512,
    mirrored: Annotated[
        bool,
        typer.Option("--mirrored", help="one template of a crop and its mirror image, at twice the time"),
    ] = False,
    calibration: Annotated[
        list[Path] | None, typer.Option(help="prepared set that thresholds come from; repeat for more")
    ] = None,
    split: Annotated[
        list[SplitName] | None, typer.Option(help="its split, else validation; repeat for more")
    ] = None,
    fmr: Annotated[
        list[float] | None, typer.Option(help="FMR of a threshold, else 1e-2 to 1e-6; repeat for more")
    ] = None,
    base: Annotated[Path, typer.Option(help="bundle that gives detector and mask classifier")] = BUILT_IN,
    detector: Annotated[
        Path | None, typer.Option(help="detector.json of `python -m export.detector`, instead of the base's")
    ] = None,
    name: Annotated[str | None, typer.Option(help="of the bundle; else the name of DIR")] = None,
    version: Annotated[str, typer.Option(help="of the bundle")] = "1",
    about: Annotated[Path | None, typer.Option(help="TOML of facts for the model card")] = None,
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(help="report.json of `training evaluate` for the card; repeat for more"),
    ] = None,
    least_cosine: Annotated[
        float | None, typer.Option(help="accept an int8 network at this cosine with torch", min=0, max=1)
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="replace the bundle that is there")] = False,
) -> None:
    """Checkpoint -> ONNX -> parity with torch -> thresholds -> a bundle that the service serves."""
    errors = Console(stderr=True)
    chosen = _VARIANTS[variant]
    try:
        if least_cosine is not None and chosen != "int8":
            raise ExportError("--least-cosine is for --variant int8: fp32 and fp16 have no reason to differ")
        request = Request(
            checkpoint=checkpoint,
            reference=reference,
            fusion=None if fuse is None else Fusion(second=fuse, share=share, dimension=dimension),
            out=out,
            base=base,
            detector=detector,
            name=name or _slug(out.resolve().name),
            version=version,
            variant=chosen,
            mirrored=mirrored,
            sets=[read_prepared(path) for path in calibration or ()],
            splits=splits_of(split),
            targets=tuple(fmr or FMR_POINTS),
            about=About() if about is None else read_about(about),
            reports=[read_report(path) for path in evaluation or ()],
            least_int8=LEAST_COSINE["int8"] if least_cosine is None else least_cosine,
            replace=replace,
        )
        done = _run(request, errors)
    except (ExportError, Unsupported, BundleError, DataSetError, ValueError) as error:
        errors.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error
    report(done, Console())


def splits_of(asked: list[SplitName] | None) -> list[Split]:
    """The splits of an option, each once; validation if none is given."""
    return list(dict.fromkeys(_SPLITS[one] for one in asked or [SplitName.VALIDATION]))


def _run(request: Request, console: Console) -> Exported:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def track(total: int) -> Callable[[int], None]:
            bar = progress.add_task("embedding", total=total)
            return lambda count: progress.advance(bar, count)

        return export_bundle(
            request,
            report_progress=lambda text: console.print(text, markup=False, highlight=False),
            track=track,
        )


def report(done: Exported, console: Console) -> None:
    """Prints the files, the thresholds, and whether the service accepts the bundle."""
    manifest = done.manifest
    table = Table("file", "variant", "KB", "smallest cosine", "ms per crop", "")
    for one in done.facts:
        figures = (f"{one.bytes / 1024:.0f}", f"{one.minimum_cosine:.6f}", f"{one.ms_per_crop:.2f}")
        table.add_row(one.name, one.variant, *figures, "served" if one.served else "for comparison")
    console.print(table)
    if manifest.calibration is None:
        console.print(
            "no thresholds: the service refuses this bundle until it is calibrated"
            " (--calibration SET, or python -m export.calibrate)"
        )
    else:
        for line in lines_of(manifest.calibration):
            console.print(line, markup=False, highlight=False)
    console.print(f"bundle {manifest.name} {manifest.version}, space {manifest.space_id}", highlight=False)


def _slug(text: str) -> str:
    """Turns a name into one that a bundle may have. Raises ExportError if no character is left."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")[:64]
    if not slug:
        raise ExportError("give the bundle a --name")
    return slug
