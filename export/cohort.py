"""Gives a bundle a cohort that its scores are relative to (`faces.cohort`), and thresholds for these scores.

    python -m export.cohort BUNDLE PEOPLE --mated LFW --mated REAL --kept TEMPLATES --version 2

The cohort is drawn from up to 100 people of each group of PEOPLE (`export.cohort_draw`); the thresholds come
from the others. How many members are nearest, and their weight, are chosen by this rule, which was written
down before any figure: of 25 and 50, and of .75 and 1, those with the largest mean TAR at FMR 1e-3 over the
five cells of `matcher rule` (training's generators), at thresholds that hold within every group. Values past
the edges of that grid were tried later and are not told from these (docs/matcher.md); a larger weight would
also give more to faces that resemble nobody in the cohort. `--shown` names sets whose TAR is shown beside it,
and by which nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from export.calibrate import lines_of
from export.card import CARD_NAME, renew_card
from export.cohort_draw import DRAWS, centred, drawn, rows_of, wanted_rows
from export.cohort_people import PEOPLE, Scale, cohort_people
from export.graph import ExportError
from export.kept_templates import SetTemplates
from export.operating_points import Unsupported, operating_points
from export.prepared_sets import Plan, calibrate, impostors_of, mated_of, plan_of, plans_of
from faces.bundle import Bundle, BundleError, file_ref, read, verify, write_manifest
from faces.cohort import Cohort, load_cohort
from faces.cohort_spec import Centre, CohortSpec
from faces.files import write_array
from faces.types import PAIRS, Pair
from training.data.prepared import PreparedSet, read_prepared
from training.data.records import DataSetError
from training.matcher.rule import NIR, NIR_MASKED, VIS_MASKED
from training.networks.onnx_encoders import BundleEncoder

LICENCE = "Apache-2.0; drawn from distributions of templates; see the card for the photos and their terms"
NEAREST, WEIGHTS = (25, 50), (0.75, 1.0)
FMR = 1e-3
CONDITIONS_OF_RULE = (NIR, NIR_MASKED, VIS_MASKED)


@dataclass(frozen=True, slots=True)
class Tried:
    """One choice. `tar`: by set and pair of conditions; `thresholds`: by pair."""

    nearest: int | None
    weight: float | None
    thresholds: Mapping[Pair, float]
    tar: Mapping[tuple[str, Pair], float]

    def mean(self, sets: Sequence[str]) -> float:
        """The mean TAR over the cells of these sets, in percent."""
        return 100 * float(np.mean([tar for (name, _), tar in self.tar.items() if name in sets]))


class Trial:
    """The templates that choices are compared on."""

    def __init__(
        self,
        bundle: Bundle,
        people: PreparedSet,
        mated: Sequence[PreparedSet],
        kept: Path | None,
        spec: CohortSpec,
    ) -> None:
        encoder = BundleEncoder(bundle.root)
        self._pairs = [Pair.with_clear_reference(probe) for probe in CONDITIONS_OF_RULE]
        plans = plans_of([people], ["validation"], spec)
        self._impostors = {pair: plans[pair][0] for pair in self._pairs if pair in plans}
        with_mates = [plan_of(prepared, ["validation"], pair) for prepared in mated for pair in self._pairs]
        self._mated = [plan for plan in with_mates if any(probe.mated for probe in plan.probes)]
        self._templates: dict[int, SetTemplates] = {}
        for prepared in (people, *mated):
            own = [p for p in (*self._impostors.values(), *self._mated) if p.prepared is prepared]
            self._templates[id(prepared)] = SetTemplates(encoder, prepared, kept)
            self._templates[id(prepared)].embed(sorted({row for plan in own for row in plan.wanted}))

    def of(self, nearest: int | None, weight: float | None, cohort: Cohort | None) -> Tried:
        """Thresholds that hold within every group, and the TAR there."""
        thresholds = {}
        for pair, plan in self._impostors.items():
            impostors = impostors_of(plan, self._of(plan), cohort)
            mates = mated_of(plan, self._of(plan), cohort)
            thresholds[pair] = operating_points(pair, impostors, mates, targets=(FMR,)).points[0].threshold
        tar = {}
        for plan in self._mated:
            missed = mated_of(plan, self._of(plan), cohort).fnmr(thresholds[plan.pair])
            assert missed is not None  # noqa: S101 - such plans alone were kept
            tar[plan.prepared.info.name, plan.pair] = 1 - missed
        return Tried(nearest, weight, thresholds, tar)

    def _of(self, plan: Plan) -> SetTemplates:
        return self._templates[id(plan.prepared)]


def made_cohort(vectors: Path, spec: CohortSpec) -> Scale:
    """The cohort of a file with its centres. `spec`: without them."""
    found = load_cohort(vectors, spec)
    whole = spec.model_copy(update={"centres": centred(found)})
    return Scale(whole, load_cohort(vectors, whole))


def no_centres() -> tuple[Centre, ...]:
    """What stands for the centres until they are measured."""
    return tuple(Centre(reference=pair.reference, probe=pair.probe, likeness=0.0) for pair in PAIRS)


def draw(bundle: Bundle, people: PreparedSet, *, kept: Path | None, seed: int) -> CohortSpec:
    """Draws a cohort into a file of the bundle's directory, named by its content: the bundle's own one stays.

    Returns what the manifest says of it, without centres.
    """
    chosen = cohort_people(people)
    rows = {name: rows_of(people, subjects) for name, subjects in chosen.items()}
    templates = SetTemplates(BundleEncoder(bundle.root), people, kept)
    templates.embed(wanted_rows(rows))
    new = bundle.root / "cohort-new.npy"
    write_array(new, drawn(rows, templates, draws=DRAWS, seed=seed))
    file = new.rename(bundle.root / f"cohort-{file_ref(new).sha256[:8]}.npy")
    counts = ", ".join(f"{len(next(iter(found.values())))} {name}" for name, found in rows.items())
    return CohortSpec(
        file=file_ref(file),
        nearest=NEAREST[0],
        weight=WEIGHTS[0],
        centres=no_centres(),
        data=f"{DRAWS} draws for each group from the templates of {counts} people; seed {seed}",
        drawn_from=people.info.name,
        people=PEOPLE,
    )


def tried(trial: Trial, spec: CohortSpec, vectors: Path) -> Iterator[tuple[Tried, Scale | None]]:
    """Plain cosines first, then each choice."""
    yield trial.of(None, None, None), None
    for nearest, weight in product(NEAREST, WEIGHTS):
        scale = made_cohort(vectors, spec.model_copy(update={"nearest": nearest, "weight": weight}))
        yield trial.of(nearest, weight, scale.cohort), scale


def line_of(one: Tried, rule: Sequence[str]) -> str:
    choice = "plain cosines" if one.nearest is None else f"nearest {one.nearest}, weight {one.weight:g}"
    cells = ", ".join(f"{name} {pair.probe} {100 * tar:.1f}" for (name, pair), tar in one.tar.items())
    return f"{choice}: mean TAR {one.mean(rule):.2f} ({cells})"


def cohort(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle's directory")],
    people: Annotated[Path, typer.Argument(metavar="PEOPLE", help="set of `matcher thresholds`")],
    mated: Annotated[list[Path], typer.Option(help="set with second photos that chooses; repeat for more")],
    shown: Annotated[list[Path] | None, typer.Option(help="set that is shown alone; repeat for more")] = None,
    kept: Annotated[Path | None, typer.Option(help="folder that keeps the templates")] = None,
    version: Annotated[str | None, typer.Option(help="the bundle's version from now on")] = None,
    seed: Annotated[int, typer.Option(help="of the draws")] = 0,
) -> None:
    """Draw a cohort for BUNDLE, choose how it is used, and set the thresholds anew."""
    try:
        opened, prepared = read(bundle), read_prepared(people)
        verify(opened)
        choosing, beside = [read_prepared(p) for p in mated], [read_prepared(p) for p in shown or ()]
        spec = draw(opened, prepared, kept=kept, seed=seed)
        trial = Trial(opened, prepared, [*choosing, *beside], kept, spec)
        rule = [one.info.name for one in choosing]
        best: tuple[float, Scale] | None = None
        for one, scale in tried(trial, spec, opened.root / spec.file.path):
            print(line_of(one, rule), flush=True)
            if scale is not None and (best is None or one.mean(rule) > best[0]):
                best = one.mean(rule), scale
        assert best is not None  # noqa: S101 - there are choices
        command = f"python -m export.cohort BUNDLE {prepared.root.resolve().name} " + " ".join(
            f"--mated {one.root.resolve().name}" for one in choosing
        )
        made = calibrate(
            bundle, [prepared, *choosing], ["validation"], command=command, kept=kept, scale=best[1]
        )
        former = opened.manifest.calibration and opened.manifest.calibration.cohort
        gone = {former.file.path} - {spec.file.path} if former else set()
        kept_licences = {name: one for name, one in opened.manifest.licences.items() if name not in gone}
        licences = kept_licences | {spec.file.path: LICENCE}
        changes = {"calibration": made, "licences": licences, "version": version or opened.manifest.version}
        changed = opened.manifest.model_copy(update=changes)
        write_manifest(changed, bundle)
        for name in gone:
            (opened.root / name).unlink()
        if (bundle / CARD_NAME).is_file():
            renew_card(bundle / CARD_NAME, changed)
    except (ExportError, Unsupported, BundleError, DataSetError) as error:
        Console(stderr=True).print(f"[red]{escape(str(error))}[/red]", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from error
    for line in lines_of(made):
        print(line)
    print(f"nearest {best[1].spec.nearest}, weight {best[1].spec.weight:g}; {made.id}, {best[1].spec.id}")


if __name__ == "__main__":
    typer.run(cohort)
