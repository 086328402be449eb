"""Sets the thresholds of a bundle anew, for every pair of conditions that prepared sets have.

    python -m export.recalibrate BUNDLE --calibration PEOPLE --calibration LFW --calibration REAL

Impostor scores of a pair come from the set with most people for it (`python -m training matcher thresholds`
makes one of thousands), mated scores from every set that has second photos (`matcher probes`). The manifest
and the card's section on thresholds are replaced; the space stays the same, so nothing is embedded again.
Where the bundle has a cohort (`export.cohort`), the scores are relative to it, and it stays.

A set of your own seldom shows every pair. With `--keep-others` the pairs that it shows get thresholds by it,
and the others keep theirs:

    python -m export.recalibrate BUNDLE --calibration OWN --keep-others
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from export.calibrate import lines_of
from export.card import CARD_NAME, replace_thresholds
from export.cohort_people import scale_of
from export.command import SplitName, splits_of
from export.graph import ExportError
from export.kept_templates import OnEmbedded
from export.operating_points import FMR_POINTS, Unsupported
from export.prepared_sets import calibrate, check_support
from faces.bundle import Bundle, BundleError, read, verify, write_manifest
from faces.calibration import Calibration
from training.data.prepared import PreparedSet, Split, read_prepared
from training.data.records import DataSetError


def recalibrate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle's directory")],
    calibration: Annotated[list[Path], typer.Option(help="prepared set; repeat for more")],
    split: Annotated[
        list[SplitName] | None, typer.Option(help="their split, else validation; repeat for more")
    ] = None,
    fmr: Annotated[
        list[float] | None, typer.Option(help="FMR of a threshold, else 1e-2 to 1e-6; repeat for more")
    ] = None,
    kept: Annotated[Path | None, typer.Option(help="folder that keeps the templates")] = None,
    keep_others: Annotated[
        bool, typer.Option("--keep-others", help="pairs that no set shows keep their thresholds")
    ] = False,
) -> None:
    """Set the thresholds of BUNDLE anew."""
    console = Console(stderr=True)
    splits, targets = splits_of(split), tuple(fmr or FMR_POINTS)
    try:
        found = read(bundle)
        verify(found)
        sets = [read_prepared(path) for path in calibration]
        others = found.manifest.calibration if keep_others else None
        if keep_others and others is None:
            raise Unsupported(f"{found.manifest.name} has no thresholds to keep: leave out --keep-others")
        scale = scale_of(found)
        spec = None if scale is None else scale.spec
        check_support(sets, splits, targets=targets, keep_others=keep_others, cohort=spec)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("embedding", total=None)

            def track(total: int) -> OnEmbedded:
                progress.update(bar, total=total)
                return lambda count: progress.advance(bar, count)

            made = calibrate(
                bundle,
                sets,
                splits,
                command=command_of(sets, splits, fmr, keep_others=keep_others),
                targets=targets,
                track=track,
                kept=kept,
                report_progress=lambda text: console.print(text, markup=False, highlight=False),
                others=others,
                scale=scale,
            )
        changed = found.manifest.model_copy(update={"calibration": made})
        write_manifest(changed, bundle)
        if (bundle / CARD_NAME).is_file():
            replace_thresholds(bundle / CARD_NAME, changed)
    except (ExportError, Unsupported, BundleError, DataSetError) as error:
        console.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error
    for line in lines_of(made):
        print(line)
    for what, before, now in _changed_defaults(found.manifest.calibration, made):
        print(f"{what} is now {now:g}, no longer {before:g}: it must be an FMR of every pair")
    print(f"{made.id}, space {_same_space(found, bundle)}")


def _changed_defaults(before: Calibration | None, now: Calibration) -> list[tuple[str, float, float]]:
    if before is None:
        return []
    rates = [
        ("the default FMR", before.default_fmr, now.default_fmr),
        ("the FMR of duplicates", before.duplicate_fmr, now.duplicate_fmr),
    ]
    return [one for one in rates if one[1] != one[2]]


def command_of(
    sets: list[PreparedSet], splits: list[Split], fmr: list[float] | None, *, keep_others: bool = False
) -> str:
    """The command line for the manifest, without paths of the machine."""
    words = ["python -m export.recalibrate BUNDLE"]
    words += [f"--calibration {one.root.resolve().name}" for one in sets]
    words += [f"--split {one}" for one in splits] if splits != ["validation"] else []
    words += [f"--fmr {one:g}" for one in fmr or ()]
    words += ["--keep-others"] if keep_others else []
    return " ".join(words)


def _same_space(before: Bundle, root: Path) -> str:
    after = read(root).manifest.space_id
    assert after == before.manifest.space_id  # noqa: S101 - thresholds are no part of the space
    return after


if __name__ == "__main__":
    typer.run(recalibrate)
