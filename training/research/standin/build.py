"""LFW photos -> the stand-in's prepared set.

Training and validation subjects pass through one VIS -> NIR generator and one family of masks, test
subjects through others (HSST.md, section 7), so that nothing learns the synthesis by heart. References
are the subject's first photo as it is; probes are made from the others, and are detected and aligned
afresh, as a service would have to; a probe without a face is a failure to acquire.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from faces.align import AlignError, align
from faces.bundle import read
from faces.types import Condition, Face, Image, Spectrum
from training.data.lfw import Identity, Photo, Split, read_lfw, split_of
from training.data.prepared import Made, PreparedSet, Refused, Role, Row, SetInfo, SetWriter
from training.data.prepared import Split as SplitName
from training.engine.worker_pool import worker_pool
from training.networks.onnx_runner import BundleRunner
from training.views.conditions import Studio, View
from training.views.found_faces import ALIGNMENT, SIDE_PX, FoundFace, find

MASKS_PER_PHOTO = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is made: photos of each training subject, probes of each other one, and whether to
    stop after so many subjects of each split (0: all)."""

    train_photos: int = 4
    probes: int = 3
    subjects: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One photo and what it becomes."""

    photo: Photo
    subject: str
    split: SplitName
    role: Role


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    runner: BundleRunner
    train: Studio
    test: Studio
    seed: int


_PARTS: list[_Parts] = []


def _open(bundle: Path, models: Path | None, templates: Path | None, seed: int) -> None:
    """In each worker process, once."""
    train = Studio("training", models=models, templates=templates)
    test = Studio("held-out", models=models, templates=templates)
    _PARTS.append(_Parts(BundleRunner(read(bundle), threads=1), train, test, seed))


def plan_jobs(identities: list[Identity], plan: Plan) -> list[Job]:
    """Subjects with two photos or more, in order of their names."""
    jobs, taken = [], dict.fromkeys(Split, 0)
    for one in identities:
        split = split_of(one.name)
        if len(one.photos) < 2 or (plan.subjects and taken[split] >= plan.subjects):
            continue
        taken[split] += 1
        if split is Split.TRAIN:
            jobs += [Job(p, one.name, "train", "none") for p in one.photos[: plan.train_photos]]
            continue
        name: SplitName = "test" if split is Split.TEST else "validation"
        jobs.append(Job(one.photos[0], one.name, name, "gallery"))
        jobs += [Job(p, one.name, name, "probe") for p in one.photos[1 : 1 + plan.probes]]
    return jobs


def _work(job: Job) -> list[Made | Refused]:
    parts = _PARTS[0]
    rng = np.random.default_rng([parts.seed, zlib.crc32(job.photo.name.encode())])
    found = find(job.photo, parts.runner)
    if found is None:
        return [_refused(job, Spectrum.VIS)]
    vis = Row(
        source=job.photo.name, subject=job.subject, spectrum=Spectrum.VIS, split=job.split, role=job.role
    )
    if job.role == "gallery":
        return [Made(vis, found.crop.pixels)]
    made: list[Made | Refused] = [Made(vis, found.crop.pixels)] if job.role == "none" else []
    masks = (False, *(True,) * (MASKS_PER_PHOTO if job.role == "none" else 1))
    studio = parts.test if job.split == "test" else parts.train
    mesh = studio.fit(found)
    if mesh is None:
        return made + [_refused(job, Spectrum.NIR, masked=masked) for masked in masks]
    views = [studio.view(found.image, mesh, Condition(Spectrum.NIR, masked), rng) for masked in masks]
    return made + [_near_infrared(job, found, view, parts.runner) for view in views]


def _near_infrared(job: Job, found: FoundFace, view: View, runner: BundleRunner) -> Made | Refused:
    masked = view.mask is not None
    face = found.face if job.role == "none" else _largest(view.image, runner)
    if face is None:
        return _refused(job, Spectrum.NIR, masked=masked)
    try:
        crop = align(view.image, face, ALIGNMENT)
    except AlignError:
        return _refused(job, Spectrum.NIR, masked=masked)
    row = Row(
        source=job.photo.name,
        subject=job.subject,
        spectrum=Spectrum.NIR,
        masked=masked,
        split=job.split,
        role=job.role,
        mask=view.mask,
        generator=view.generator,
    )
    return Made(row, crop.pixels)


def _largest(image: Image, runner: BundleRunner) -> Face | None:
    found = runner.faces(image)
    return found[0] if found else None


def _refused(job: Job, spectrum: Spectrum, *, masked: bool = False) -> Refused:
    return Refused(
        source=job.photo.name,
        subject=job.subject,
        spectrum=spectrum,
        code="no_face",
        detail="no face found",
        masked=masked,
        split=job.split,
        role=job.role,
    )


def build(
    tar: Path,
    bundle: Path,
    out: Path,
    *,
    models: Path | None,
    plan: Plan,
    templates: Path | None = None,
    workers: int = 2,
) -> PreparedSet:
    """Make the whole set, with a progress bar; the same whatever the number of workers."""
    jobs = plan_jobs(read_lfw(tar, frozenset(Split)), plan)
    info = SetInfo(
        name="stand-in",
        alignment=ALIGNMENT,
        side_px=SIDE_PX,
        made_by="python -m training standin build",
        synthetic="NIR is pseudo-NIR made from visible light, masks are synthetic: no real NIR",
    )
    writer = SetWriter(out, info)
    with worker_pool(workers, _open, bundle, models, templates, plan.seed) as pool:
        done: Iterator[list[Made | Refused]] = pool.map(_work, jobs, chunksize=8)
        for items in track(done, "making the set", total=len(jobs)):
            writer.take(items)
    return writer.close()
