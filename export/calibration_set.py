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
from rich.progress import track

from faces.align import AlignError, align
from faces.bundle import read, verify
from faces.types import CONDITIONS, Condition, Image, Pixels, Spectrum
from training.cli.errors import told
from training.data.lfw import Identity, Photo, Split, read_lfw, split_of
from training.data.prepared import Made, PreparedSet, Refused, Role, Row, SetInfo, SetWriter
from training.data.prepared import Split as SplitName
from training.engine.worker_pool import worker_pool
from training.networks.onnx_runner import BundleRunner
from training.synthesis.assets import CHECKOUT
from training.views.conditions import PHOTO, Family, Studio, View
from training.views.found_faces import ALIGNMENT, SIDE_PX, FoundFace, find

BUNDLE = CHECKOUT / ".halflight" / "bundles" / "reference"
PROBES = 3


class Splits(StrEnum):
    """Subjects that thresholds may be calibrated on."""

    VALIDATION = "validation"
    TRAIN = "train"


class Families(StrEnum):
    """Generators and masks."""

    TRAINING = "training"
    HELD_OUT = "held-out"


_FAMILIES: dict[Families, Family] = {Families.TRAINING: "training", Families.HELD_OUT: "held-out"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """`bundle`: its detector finds the faces; `models`: folder of the face mesh's files; `templates`:
    folder of mask photos."""

    bundle: Path
    models: Path | None
    templates: Path | None
    family: Family = "training"


@dataclass(frozen=True, slots=True)
class Job:
    """One photo of a subject. `probe`: it becomes probes; `reference`: it is the subject's reference."""

    photo: Photo
    subject: str
    reference: bool
    probe: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    runner: BundleRunner
    studio: Studio


_PARTS: list[_Parts] = []


def _open(tools: Tools) -> None:
    """In each worker process, once."""
    studio = Studio(tools.family, models=tools.models, templates=tools.templates)
    _PARTS.append(_Parts(BundleRunner(read(tools.bundle), threads=1), studio))


def jobs_of(identities: Sequence[Identity], *, probes: int = PROBES) -> list[Job]:
    """The first photo is the reference, and the probe too where there is no other."""
    jobs = []
    for one in identities:
        alone = len(one.photos) == 1
        jobs.append(Job(one.photos[0], one.name, reference=True, probe=alone))
        jobs += [Job(p, one.name, reference=False, probe=True) for p in one.photos[1 : 1 + probes]]
    return jobs


def _work(job: Job) -> list[Made | Refused]:
    parts = _PARTS[0]
    found = find(job.photo, parts.runner)
    wanted = [PHOTO] if job.reference else []
    wanted += [c for c in CONDITIONS if c not in wanted] if job.probe else []
    if found is None:
        # Without its reference a subject has no comparisons at all.
        return [_refused(job, c, "no face found") for c in (wanted[:1] if job.reference else wanted)]
    views = parts.studio.views(found, job.photo.name) if job.probe else {PHOTO: View(found.image)}
    return [_made(job, c, found, views.get(c), parts.runner) for c in wanted]


def _made(
    job: Job, condition: Condition, found: FoundFace, view: View | None, runner: BundleRunner
) -> Made | Refused:
    if view is None:
        return _refused(job, condition, "no mesh fits the face")
    crop = found.crop.pixels if condition == PHOTO else _aligned(view.image, runner)
    if crop is None:
        return _refused(job, condition, "no face found")
    row = Row(
        source=job.photo.name,
        subject=job.subject,
        spectrum=condition.spectrum,
        masked=condition.masked,
        split=_split(job),
        role=_role(job, condition),
        mask=view.mask,
        generator=view.generator,
    )
    return Made(row, crop)


def _aligned(image: Image, runner: BundleRunner) -> Pixels | None:
    """The largest face's crop."""
    faces = runner.faces(image)
    try:
        return align(image, faces[0], ALIGNMENT).pixels if faces else None
    except AlignError:
        return None


def _refused(job: Job, condition: Condition, detail: str) -> Refused:
    return Refused(
        source=job.photo.name,
        subject=job.subject,
        spectrum=condition.spectrum,
        code="no_face",
        detail=detail,
        masked=condition.masked,
        split=_split(job),
        role=_role(job, condition),
    )


def _role(job: Job, condition: Condition) -> Role:
    return "gallery" if job.reference and condition == PHOTO else "probe"


def _split(job: Job) -> SplitName:
    return split_of(job.subject).value


def build(
    tar: Path, out: Path, tools: Tools, *, splits: frozenset[Split], subjects: int = 0, workers: int = 2
) -> PreparedSet:
    """Make the set, with a progress bar; the same whatever the number of workers. `subjects`: so many of
    those by name, 0 for all.

    Raises BundleError, SynthesisError, ValueError, OSError.
    """
    if Split.TEST in splits:
        raise ValueError("thresholds are never calibrated on the test split")
    verify(read(tools.bundle))
    # Its errors belong here, not into a worker that dies of them.
    Studio(tools.family, models=tools.models, templates=tools.templates)
    identities = read_lfw(tar, splits)
    jobs = jobs_of(identities[:subjects] if subjects else identities)
    named = " ".join(f"--split {split.value}" for split in Split if split in splits)
    info = SetInfo(
        name="lfw-calibration",
        alignment=ALIGNMENT,
        side_px=SIDE_PX,
        made_by=f"python -m export.calibration_set SET {named} --family {tools.family}",
        synthetic="NIR is pseudo-NIR made from visible light, masks are synthetic: no real NIR, no real mask",
    )
    writer = SetWriter(out, info)
    with worker_pool(workers, _open, tools) as pool:
        done = pool.map(_work, jobs, chunksize=4)
        for items in track(done, "making the set", total=len(jobs), console=Console(stderr=True)):
            writer.take(items)
    return writer.close()


def main(
    out: Annotated[Path, typer.Argument(metavar="SET", help="folder of the set")],
    lfw: Annotated[Path, typer.Option(help="the LFW archive")],
    bundle: Annotated[Path, typer.Option(help="the bundle whose detector is used: export's --base")] = BUNDLE,
    templates: Annotated[Path | None, typer.Option(help="photos of masks (masks.cfg); none: drawn")] = None,
    models: Annotated[Path | None, typer.Option(help="folder of the face mesh's files")] = None,
    split: Annotated[list[Splits] | None, typer.Option(help="else validation; repeat for more")] = None,
    family: Annotated[Families, typer.Option(help="of generators and masks")] = Families.TRAINING,
    subjects: Annotated[int, typer.Option(min=0, help="so many alone; 0: all")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 2,
) -> None:
    """LFW photos -> the prepared set that `python -m export --calibration` takes."""
    tools = Tools(bundle=bundle, models=models, templates=templates, family=_FAMILIES[family])
    splits = frozenset(Split(one.value) for one in split or [Splits.VALIDATION])
    with told(OSError, ValueError):
        made = build(lfw, out, tools, splits=splits, subjects=subjects, workers=workers)
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
