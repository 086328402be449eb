"""Makes the 3D-rendered family: a prepared set of rendered subjects in both spectra.

It has no photo of a real face, so it tests or trains independently of every transform of photos. The
pictures are kept below the set, so an interrupted run can resume.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from rich.progress import Progress

from faces.align import ALIGNMENTS, AlignError, align, similarity
from faces.types import Box, Face, Image, Spectrum
from training.data.prepared import PreparedSet, Refused, Row, SetInfo, Split
from training.data.set_writer import SetWriter
from training.synthesis.rendered.model import FaceModel
from training.synthesis.rendered.pictures import (
    GENERATOR,
    FiveLandmarks,
    Job,
    Picture,
    Views,
    plan,
    read_facts,
    render_jobs,
)

PICTURES = "pictures"
# At 144 px the eyes are about 37 px apart, so the 112 px crop has about the scale of the picture.
SIZE_PX = 144


class Detector(Protocol):
    """Finds faces, largest first: `training.networks.onnx_runner.BundleRunner` is one."""

    def faces(self, image: Image) -> tuple[Face, ...]: ...


def render_family(
    out: Path,
    model: FaceModel,
    *,
    subjects: int,
    views: Views | None = None,
    seed: int,
    split: Split = "test",
    size_px: int = SIZE_PX,
    alignment: str = "arcface-112",
    detector: Detector | None = None,
    workers: int = 2,
    show_progress: bool = True,
) -> PreparedSet:
    """Renders, detects, aligns and writes a prepared set; VIS is its gallery, NIR its probes.

    Another `seed` gives other subjects. Without a detector the landmarks are the projected ones of the
    model. Every worker takes 3 s to start. Raises ValueError for a set without subjects,
    KeyError for an unknown alignment.
    """
    if subjects < 1 or workers < 1:
        raise ValueError("at least one subject and one worker are needed")
    side = ALIGNMENTS[alignment].side_px
    wanted = views or Views()
    jobs = plan(out / PICTURES, model, subjects=subjects, views=wanted, seed=seed, size_px=size_px)
    missing = [job for job in jobs if read_facts(job) is None]
    with Progress(disable=not show_progress, transient=True) as progress:
        task = progress.add_task("rendering subjects", total=len(jobs), completed=len(jobs) - len(missing))
        for _ in render_jobs(missing, model, workers=workers):
            progress.advance(task)
        made_by = (
            f"python -m training rendered-family --subjects {subjects} --seed {seed} --size {size_px} "
            f"--vis {wanted.vis} --nir {wanted.nir} --nir-masked {wanted.nir_masked} --split {split}"
        )
        info = SetInfo(
            name=f"rendered-{seed}",
            alignment=alignment,
            side_px=side,
            made_by=made_by,
            synthetic="3D-rendered faces of the ICT FaceKit model, no real person"
            + ("" if detector else "; landmarks projected, not detected"),
        )
        writer = SetWriter(out, info)
        task = progress.add_task("aligning", total=len(jobs))
        for job in jobs:
            for picture in read_facts(job) or ():
                _add_picture(writer, out, job, picture, alignment=alignment, split=split, detector=detector)
            progress.advance(task)
    return writer.close()


def tiny_family(
    out: Path,
    model: FaceModel,
    *,
    subjects: int = 16,
    seed: int = 1,
    split: Split = "train",
    workers: int = 2,
    show_progress: bool = True,
) -> PreparedSet:
    """Renders a set for smoke runs: 96 px, two VIS, one NIR, two masked NIR views; needs no detector."""
    return render_family(
        out,
        model,
        subjects=subjects,
        views=Views(vis=2, nir=1, nir_masked=2),
        seed=seed,
        split=split,
        size_px=96,
        workers=workers,
        show_progress=show_progress,
    )


def _add_picture(
    writer: SetWriter,
    out: Path,
    job: Job,
    picture: Picture,
    *,
    alignment: str,
    split: Split,
    detector: Detector | None,
) -> None:
    """Adds the picture's crop to the set, or the reason why there is none."""
    path = job.folder / picture.name
    source, subject = path.relative_to(out).as_posix(), job.folder.name
    view = picture.view
    role: Literal["gallery", "probe"] = "gallery" if view.spectrum is Spectrum.VIS else "probe"
    decoded = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if decoded is None:
        raise OSError(f"{source} cannot be read: delete its folder and run the command again")
    image = Image(np.asarray(decoded, np.uint8), view.spectrum)
    found = detector.faces(image) if detector is not None else (_exact_face(picture.landmarks),)

    def refuse(code: Literal["no_face", "too_small"], detail: str) -> None:
        writer.refuse(
            Refused(
                source=source,
                subject=subject,
                spectrum=view.spectrum,
                code=code,
                detail=detail,
                split=split,
                role=role,
            )
        )

    if not found:
        refuse("no_face", "the detector saw no face")
        return
    try:
        crop = align(image, found[0], alignment)
    except AlignError as error:
        refuse("too_small", str(error))
        return
    matrix = similarity(found[0].landmarks, ALIGNMENTS[alignment])
    moved = np.array(found[0].landmarks) @ matrix[:, :2].T + matrix[:, 2]
    mask = view.mask
    row = Row(
        source=source,
        subject=subject,
        spectrum=view.spectrum,
        masked=mask is not None,
        split=split,
        role=role,
        mask=None if mask is None else f"{mask.shape}-{mask.coverage}-{mask.reflectance:.2f}",
        generator=GENERATOR,
        landmarks=tuple((round(float(x), 2), round(float(y), 2)) for x, y in moved),
    )
    writer.add(row, crop.pixels)


def _exact_face(points: FiveLandmarks) -> Face:
    at = np.array(points)
    low, high = at.min(axis=0), at.max(axis=0)
    pad = 0.6 * (high - low) + 1.0
    x, y = low - pad
    width, height = high - low + 2 * pad
    return Face(Box(float(x), float(y), float(width), float(height)), points, 1.0)
