"""The reference embedder, fine-tuned by HSST into 512 dimensions, as a calibrated bundle.

    halflight models build reference-hsst --set SET --out DIR --work WORK
    python -m export.reference_hsst --set SET --out DIR --work WORK

SET is a prepared set with the spectra paired by subject (`python -m training prepare`), whose validation
split has probes of every condition or for which `--calibration` names a set that has; `--standin` makes both
from LFW, with pseudo-NIR and synthetic masks. Killed at any place, the same command goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from export import calibration_set
from export.build import Exported, Request, export_bundle
from export.card import About
from export.command import report
from export.graph import ExportError
from export.operating_points import FMR_POINTS, Unsupported
from export.place import check_free
from export.prepared_sets import check_support
from training.cli.errors import exit_on_user_error
from training.cli.progress import loss_bar
from training.data.lfw import Split
from training.data.prepared import PreparedSet, read_prepared
from training.data.records import DataSetError
from training.engine.compile import check_compiler
from training.engine.devices import processes
from training.engine.run_record import RunRecord
from training.finetune.recipe import Recipe, load_recipe, shortened
from training.finetune.run import ENCODER, RunOptions, train_recipe
from training.research.standin.build import Plan
from training.research.standin.build import build as build_standin
from training.synthesis.assets import CHECKOUT
from training.views.set_builder import ViewAssets

NAME = "reference-hsst"
BASE = CHECKOUT / ".halflight" / "bundles" / "reference"
SHARED = CHECKOUT.parent / "shared"
ABOUT = About(
    summary="The reference embedder, fine-tuned by HSST into 512 dimensions",
    licence="Apache-2.0, as the reference embedder; the data it learned from may have terms of its own",
    method="HSST (arXiv 2104.06761) from the reference embedder's weights, with distillation of its own"
    " templates; recipe `reference-hsst`",
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sets:
    """`learned`: its train split is trained on; `calibration`: thresholds come from the validation splits."""

    learned: PreparedSet
    calibration: Sequence[PreparedSet]


def standin_sets(lfw: Path, assets: ViewAssets, work: Path, *, subjects: int) -> Sets:
    """Reads both sets from `work`, or makes what is not finished there.

    `lfw`: the archive; `subjects`: how many of each split, 0 for all. Raises what the builders raise.
    """
    learned, calibration = work / "standin", work / "calibration"
    return Sets(
        learned=_read(learned) or build_standin(lfw, learned, assets, plan=Plan(subjects=subjects)),
        calibration=[
            _read(calibration)
            or calibration_set.build(
                lfw, calibration, assets, splits=frozenset({Split.VALIDATION}), subjects=subjects
            )
        ],
    )


def _read(path: Path) -> PreparedSet | None:
    """Reads a set that an earlier run finished; None if there is none."""
    try:
        return read_prepared(path)
    except DataSetError:
        return None


def train(
    recipe: Recipe, learned: PreparedSet, base: Path, work: Path, *, device: str, compiled: bool
) -> RunRecord:
    """Fine-tunes in `work/run`, with a progress bar. Raises what `train_recipe` raises, and DeviceError."""
    console = Console(stderr=True)
    with processes(device) as where, loss_bar(console, "fine-tuning", total=recipe.loop.iterations) as step:
        place = RunOptions(out=work / "run", start=base, teacher=base, compiled=compiled, device=where)
        return train_recipe(recipe, learned, place, on_step=step)


def export(
    record: RunRecord, sets: Sets, base: Path, work: Path, out: Path, *, targets: Sequence[float]
) -> Exported:
    """Exports the trained encoder as a bundle to `out`. Raises what `export_bundle` raises."""
    about = ABOUT.model_copy(update={"data": f"{record.set_name}: {record.synthetic or 'real photos'}"})
    request = Request(
        checkpoint=work / "run" / ENCODER,
        out=out,
        base=base,
        name=NAME,
        sets=sets.calibration,
        targets=targets,
        about=about,
        command=f"halflight models build {NAME}",
    )
    console = Console(stderr=True)
    return export_bundle(
        request,
        report_progress=lambda text: console.print(text, markup=False, highlight=False),
        track=lambda _: lambda _: None,
    )


def main(
    out: Annotated[Path, typer.Option(help="directory of the bundle")],
    work: Annotated[Path, typer.Option(help="folder of the run, to go on in")],
    learned: Annotated[Path | None, typer.Option("--set", help="prepared set to learn from")] = None,
    standin: Annotated[bool, typer.Option("--standin", help="make sets from LFW: pseudo-NIR")] = False,
    calibration: Annotated[
        list[Path] | None, typer.Option(help="prepared set for thresholds, else SET; repeat for more")
    ] = None,
    base: Annotated[Path, typer.Option(help="the reference bundle")] = BASE,
    lfw: Annotated[Path, typer.Option(help="the LFW archive")] = SHARED / "data" / "lfw.tar",
    templates: Annotated[Path | None, typer.Option(help="photos of masks (masks.cfg)")] = None,
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    subjects: Annotated[int, typer.Option(min=0, help="of each split with --standin; 0: all")] = 0,
    iterations: Annotated[int | None, typer.Option(min=1, help="instead of the recipe's")] = None,
    fmr: Annotated[list[float] | None, typer.Option(help="points to calibrate; repeat for more")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N")] = "cpu",
    compiled: Annotated[bool, typer.Option(help="compile the networks (needs a C++ compiler)")] = False,
    set_: Annotated[list[str] | None, typer.Option("--recipe", help="key=value over the recipe")] = None,
) -> None:
    """Fine-tune, export, calibrate."""
    targets = tuple(fmr or FMR_POINTS)
    with exit_on_user_error(ExportError, Unsupported, OSError):
        recipe = load_recipe(NAME, set_ or ())
        recipe = recipe if iterations is None else shortened(recipe, iterations)
        check_free(out, replace=False)
        if compiled:
            check_compiler()
        if standin == (learned is not None):
            raise DataSetError("say what to learn from: --set SET, or --standin for LFW in pseudo-NIR")
        if learned is None:
            assets = ViewAssets(bundle=base, models=models, templates=templates)
            sets = standin_sets(lfw, assets, work, subjects=subjects)
        else:
            mine = read_prepared(learned)
            given = [read_prepared(path) for path in calibration or ()]
            sets = Sets(learned=mine, calibration=given or [mine])
        # Before the training, not after it.
        check_support(sets.calibration, ["validation"], targets=targets)
        record = train(recipe, sets.learned, base, work, device=device, compiled=compiled)
        done = export(record, sets, base, work, out, targets=targets)
    report(done, Console())


if __name__ == "__main__":
    typer.run(main)
