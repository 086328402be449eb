"""The table of the built-in bundle, through HTTP: bundle beside bundle on the same probes.

    python -m benchmarks.table WORK .halflight/bundles/reference models/halflight-1

For each bundle a service of its own is started; LFW test subjects are enrolled with one photo each and
their other photos are asked about in every condition: as they are, with masks, as pseudo-NIR, both (held-out
generator and masks). Then the groups of `faces_extra` are enrolled beside them and asked about. Probes and
answers are kept in WORK, so a killed run goes on and a bundle that was asked is not asked again. The first
bundle is what the others are compared with. Writes WORK/table.json and WORK/table.md.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.masked_photos import FIRST_HELD_OUT
from benchmarks.table.answers import Round, ask
from benchmarks.table.further import further_rounds, real_mask_subjects, rendered_subjects
from benchmarks.table.measured import Measurer
from benchmarks.table.photos import group_subjects, lfw_subjects, masked_photos
from benchmarks.table.probes import make
from benchmarks.table.report import as_json, markdown
from faces.bundle import Bundle, BundleError, read, verify
from faces.calibration import UnsupportedFmr
from faces.files import write_whole
from faces.types import CONDITIONS, Pair
from training.cli.errors import exit_on_user_error
from training.synthesis.assets import CHECKOUT
from training.views.set_builder import ViewAssets

SHARED = CHECKOUT.parent / "shared"
REFERENCE = CHECKOUT / ".halflight" / "bundles" / "reference"


def table(
    work: Annotated[Path, typer.Argument(help="folder of probes, answers and the table")],
    bundles: Annotated[list[Path], typer.Argument(help="the first is what the others are compared with")],
    lfw: Annotated[Path, typer.Option(help="the LFW archive")] = SHARED / "data" / "lfw.tar",
    extra: Annotated[Path, typer.Option(help="archive of the groups")] = SHARED / "data" / "faces_extra.zip",
    photos: Annotated[Path, typer.Option(help="real masked photos")] = SHARED / "data" / "masked_photos",
    templates: Annotated[Path, typer.Option(help="photos of masks")] = SHARED / "data" / "mask_templates",
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    detector: Annotated[Path, typer.Option(help="bundle that finds the faces masks are put on")] = REFERENCE,
    real_masks: Annotated[Path, typer.Option(help="archive of real masks with subjects")] = SHARED
    / "data"
    / "real_masks.zip",
    rendered: Annotated[
        Path | None, typer.Option(help="a set of `rendered-family --split test`; none: no such rows")
    ] = None,
    probes: Annotated[int, typer.Option(min=1, help="photos of each LFW subject, at most")] = 3,
    group_probes: Annotated[int, typer.Option(min=1, help="photos of each other subject, at most")] = 6,
    subjects: Annotated[int, typer.Option(min=0, help="so many LFW test subjects; 0: all")] = 0,
    of_each: Annotated[int, typer.Option(min=0, help="so many subjects of each group; 0: all")] = 0,
    masked: Annotated[int, typer.Option(min=0, help="so many real masked photos; 0: all")] = 0,
    fmr: Annotated[float, typer.Option(help="the calibrated point that is judged")] = 1e-3,
    workers: Annotated[int, typer.Option(min=1, help="processes that make probes")] = 2,
) -> None:
    """Rank-1, TAR, thresholds and groups of bundles, over HTTP."""
    errors = Console(stderr=True)
    with exit_on_user_error(UnsupportedFmr, OSError, ValueError):
        opened = [_opened(path, fmr) for path in bundles]
        people = lfw_subjects(lfw, probes=probes, limit=subjects)
        others = group_subjects(extra, probes=group_probes, limit=of_each)
        with_masks = real_mask_subjects(real_masks, limit=subjects)
        drawn = [] if rendered is None else rendered_subjects(rendered, limit=subjects)
        real = masked_photos(photos, first=FIRST_HELD_OUT, limit=masked)
        assets = ViewAssets(bundle=detector, models=models, templates=templates)
        first = make(people, work / "probes", assets, workers=workers)
        second = make(others, work / "probes", assets, workers=workers)
        third = make(with_masks, work / "probes", assets, workers=workers)
        fourth = make(drawn, work / "probes", assets, workers=workers)
    measurer, measured = Measurer(people, others, [*first, *second]), []
    for bundle in opened:
        errors.print(f"{bundle.manifest.name} {bundle.manifest.version}", markup=False, highlight=False)
        answers = ask(
            bundle,
            [
                Round(name="LFW", enrol=people, probes=first, photos=real),
                Round(name="the groups", enrol=others, probes=second),
            ],
            probes=work / "probes",
            kept=work / "answers",
            fmr=fmr,
        )
        row = measurer.measure(bundle, answers, photos=[path.name for path in real], fmr=fmr)
        further = [
            *further_rounds(bundle, people, with_masks, third, work=work, fmr=fmr),
            *further_rounds(bundle, (), drawn, fourth, work=work, fmr=fmr),
        ]
        measured.append(dataclasses.replace(row, further=tuple(further)))
        write_whole(work / "table.json", as_json(measured))
        write_whole(work / "table.md", markdown(measured).encode())
    print((work / "table.md").read_text(encoding="utf-8"), end="")


def _opened(path: Path, fmr: float) -> Bundle:
    """Reads and verifies a bundle.

    Raises BundleError, and UnsupportedFmr if a condition has no threshold at `fmr`: the service would refuse
    every probe.
    """
    bundle = read(path)
    verify(bundle)
    if bundle.manifest.calibration is None:
        raise BundleError(f"{path.name} has no thresholds: the service does not take it")
    for condition in CONDITIONS:
        bundle.manifest.calibration.at(Pair.with_clear_reference(condition), fmr)
    return bundle


if __name__ == "__main__":
    typer.run(table)
