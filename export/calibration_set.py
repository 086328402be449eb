"""LFW photos -> the prepared set that thresholds are calibrated on, with probes of every condition.

    python -m export.calibration_set SET --lfw ../shared/data/lfw.tar \\
        --templates ../shared/data/mask_templates --models ../shared/models
    python -m export CHECKPOINT --out DIR --calibration SET

Validation subjects alone: a network knows the faces that it was trained on. The first photo is the
reference, as it is; up to three others become probes {VIS, NIR} x {unmasked, masked}, made with the
training family of generators and masks and detected and aligned afresh, as the service does it. A subject
with one photo gives versions of that photo, which make non-mated comparisons alone. A probe without a
face is a failure to acquire. The test split cannot be named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from faces.bundle import read, verify
from faces.types import CONDITIONS, Condition, Spectrum
from training.cli.errors import exit_on_user_error
from training.data.lfw import Identity, Photo, Split, read_lfw, split_of
from training.data.prepared import PreparedSet, Refused, Role
from training.data.prepared import Split as SplitName
from training.data.set_writer import Made
from training.synthesis.assets import BUILT_IN
from training.views.conditions import PHOTO, Family, View
from training.views.found_faces import FoundFace, find_face, largest_crop
from training.views.row_facts import RowFacts
from training.views.set_builder import ViewAssets, ViewTools, build_set

PROBES = 3


class Splits(StrEnum):
    """The splits whose subjects thresholds may be calibrated on."""

    VALIDATION = "validation"
    TRAIN = "train"


class Families(StrEnum):
    """The families of generators and masks."""

    TRAINING = "training"
    HELD_OUT = "held-out"


_FAMILIES: dict[Families, Family] = {Families.TRAINING: "training", Families.HELD_OUT: "held-out"}


@dataclass(frozen=True, slots=True)
class PhotoJob:
    """One photo of a subject. `reference`: it is the subject's reference; `probe`: it gives probes."""

    photo: Photo
    subject: str
    reference: bool
    probe: bool
    family: Family = "training"

    def run(self, tools: ViewTools) -> list[Made | Refused]:
        """The crops of the photo in its conditions, or what was refused."""
        found = find_face(self.photo, tools.detector)
        wanted = [PHOTO] if self.reference else []
        wanted += [c for c in CONDITIONS if c not in wanted] if self.probe else []
        if found is None:
            # Without its reference a subject has no comparisons at all.
            lost = wanted[:1] if self.reference else wanted
            return [self._facts(c).refused(c) for c in lost]
        views = {PHOTO: View(found.image)}
        if self.probe:
            views = tools.maker(self.family).views(found, self.photo.name)
        return [self._made(c, found, views.get(c), tools) for c in wanted]

    def _made(
        self, condition: Condition, found: FoundFace, view: View | None, tools: ViewTools
    ) -> Made | Refused:
        facts = self._facts(condition)
        if view is None:
            return facts.refused(condition, "no mesh fits the face")
        crop = found.crop.pixels if condition == PHOTO else largest_crop(view.image, tools.detector)
        if crop is None:
            return facts.refused(condition)
        return Made(facts.row(condition, mask=view.mask, generator=view.generator), crop)

    def _facts(self, condition: Condition) -> RowFacts:
        role: Role = "gallery" if self.reference and condition == PHOTO else "probe"
        split: SplitName = split_of(self.subject).value
        return RowFacts(source=self.photo.name, subject=self.subject, split=split, role=role)


def plan_jobs(
    identities: Sequence[Identity], *, probes: int = PROBES, family: Family = "training"
) -> list[PhotoJob]:
    """Plans the photos of each subject: the first is the reference, and a probe if it is the only one."""
    jobs = []
    for one in identities:
        alone = len(one.photos) == 1
        jobs.append(PhotoJob(one.photos[0], one.name, reference=True, probe=alone, family=family))
        jobs += [
            PhotoJob(photo, one.name, reference=False, probe=True, family=family)
            for photo in one.photos[1 : 1 + probes]
        ]
    return jobs


def build(
    tar: Path,
    out: Path,
    assets: ViewAssets,
    *,
    splits: frozenset[Split],
    family: Family = "training",
    subjects: int = 0,
    workers: int = 2,
) -> PreparedSet:
    """Makes the set, with a progress bar; the same for any `workers`.

    `subjects`: how many, in the order of their names; 0 for all. Raises BundleError, SynthesisError,
    DataSetError, and ValueError if the test split is named.
    """
    if Split.TEST in splits:
        raise ValueError("thresholds are never calibrated on the test split")
    verify(read(assets.bundle))
    identities = read_lfw(tar, splits)
    named = " ".join(f"--split {split.value}" for split in Split if split in splits)
    return build_set(
        plan_jobs(identities[:subjects] if subjects else identities, family=family),
        out,
        assets,
        name="lfw-calibration",
        made_by=f"python -m export.calibration_set SET {named} --family {family}",
        synthetic="NIR is pseudo-NIR made from visible light, masks are synthetic: no real NIR, no real mask",
        families=(family,),
        workers=workers,
        console=Console(stderr=True),
    )


def main(
    out: Annotated[Path, typer.Argument(metavar="SET", help="folder of the set")],
    lfw: Annotated[Path, typer.Option(help="the LFW archive")],
    bundle: Annotated[Path, typer.Option(help="whose detector is used: export's --base")] = BUILT_IN,
    templates: Annotated[Path | None, typer.Option(help="photos of masks (masks.cfg); none: drawn")] = None,
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    split: Annotated[list[Splits] | None, typer.Option(help="else validation; repeat for more")] = None,
    family: Annotated[Families, typer.Option(help="of generators and masks")] = Families.TRAINING,
    subjects: Annotated[int, typer.Option(min=0, help="so many alone; 0: all")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 2,
) -> None:
    """LFW photos -> the prepared set that `python -m export --calibration` takes."""
    assets = ViewAssets(bundle=bundle, models=models, templates=templates)
    splits = frozenset(Split(one.value) for one in split or [Splits.VALIDATION])
    with exit_on_user_error(OSError, ValueError):
        made = build(
            lfw,
            out,
            assets,
            splits=splits,
            family=_FAMILIES[family],
            subjects=subjects,
            workers=workers,
        )
    console = Console()
    for condition in CONDITIONS:
        rows = [row for row in made.rows if row.condition == condition and row.role == "probe"]
        lost = sum(
            (r.spectrum, r.masked, r.role) == (condition.spectrum, condition.masked, "probe")
            for r in made.refused
        )
        console.print(
            f"{condition}: {len(rows)} probes of {len({r.subject for r in rows})} subjects, {lost} failed",
            highlight=False,
        )
    references = sum(row.role == "gallery" for row in made.rows)
    console.print(f"{references} references, {Spectrum.VIS.value}, unmasked", highlight=False)


if __name__ == "__main__":
    typer.run(main)
