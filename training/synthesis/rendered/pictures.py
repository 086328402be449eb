"""Renders pictures of many subjects and keeps them on disk, so that an interrupted run can resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.files import write_whole
from faces.types import Pixels, Point, Spectrum
from training.engine.worker_pool import worker_pool
from training.synthesis.rendered.draw import draw_mask, draw_view
from training.synthesis.rendered.model import FaceModel
from training.synthesis.rendered.render import landmarks, render
from training.synthesis.rendered.samples import population
from training.synthesis.rendered.spec import SubjectSpec, ViewSpec

GENERATOR = "rendered-ict-1"
JPEG_QUALITY = (80, 96)

FiveLandmarks = tuple[Point, Point, Point, Point, Point]
Kind = Literal["vis", "nir", "nir_masked"]
KINDS: tuple[Kind, ...] = ("vis", "nir", "nir_masked")


@dataclass(frozen=True, slots=True)
class Views:
    """Numbers of pictures of each subject; every picture has its own pose, expression, light and seed."""

    vis: int = 2
    nir: int = 2
    nir_masked: int = 2

    def __post_init__(self) -> None:
        if min(self.vis, self.nir, self.nir_masked) < 0 or self.vis + self.nir + self.nir_masked < 1:
            raise ValueError("a subject needs at least one view, and none may be negative")

    def names(self) -> tuple[tuple[Kind, int], ...]:
        """Returns kind and number of every picture, in order."""
        counts: dict[Kind, int] = {"vis": self.vis, "nir": self.nir, "nir_masked": self.nir_masked}
        return tuple((kind, number) for kind in KINDS for number in range(counts[kind]))


@dataclass(frozen=True, slots=True)
class Job:
    """The pictures of one subject. `key` changes with everything that changes a pixel."""

    folder: Path
    subject: SubjectSpec
    views: tuple[tuple[str, ViewSpec], ...]
    key: str

    @property
    def facts(self) -> Path:
        return self.folder / "facts.json"


@dataclass(frozen=True, slots=True)
class Picture:
    """A rendered picture on disk and its exact five landmarks."""

    name: str
    view: ViewSpec
    landmarks: FiveLandmarks


# The model of a worker process: sent once, not with every subject.
_worker_models: list[FaceModel] = []


def plan(root: Path, model: FaceModel, *, subjects: int, views: Views, seed: int, size_px: int) -> list[Job]:
    """Draws every subject with its views; a longer plan of the same seed begins with the shorter one."""
    jobs = []
    for number, subject in enumerate(population(model, subjects=subjects, seed=seed)):
        drawn = []
        for kind, view in views.names():
            rng = np.random.default_rng([seed, number, KINDS.index(kind), view])
            spectrum = Spectrum.VIS if kind == "vis" else Spectrum.NIR
            mask = draw_mask(rng) if kind == "nir_masked" else None
            drawn.append((f"{kind}_{view + 1}.jpg", draw_view(rng, spectrum, mask=mask, size_px=size_px)))
        facts = json.dumps([GENERATOR, asdict(subject), [asdict(view) for _, view in drawn]])
        key = hashlib.sha256(facts.encode()).hexdigest()
        jobs.append(Job(root / f"ict{seed}-{number + 1:04d}", subject, tuple(drawn), key))
    return jobs


def render_jobs(jobs: Sequence[Job], model: FaceModel, *, workers: int) -> Iterator[None]:
    """Renders the jobs; yields once for each finished subject."""
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            _make(job, model)
            yield
        return
    pool = worker_pool(min(workers, len(jobs)), _start_worker, model)
    try:
        for done in as_completed([pool.submit(_make_in_worker, job) for job in jobs]):
            done.result()
            yield
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(model: FaceModel) -> None:
    # A function, because `_worker_models.append` would send a copy of the list to the worker.
    _worker_models.append(model)


def _make_in_worker(job: Job) -> None:
    _make(job, _worker_models[0])


def _make(job: Job, model: FaceModel) -> None:
    """Writes a subject's pictures, then its facts: a subject with facts is complete."""
    job.folder.mkdir(parents=True, exist_ok=True)
    points = {}
    for name, view in job.views:
        pixels = render(job.subject, view, model)
        write_whole(job.folder / name, _jpeg(pixels, view))
        points[name] = five_landmarks(landmarks(job.subject, view, model))
    write_whole(job.facts, json.dumps({"key": job.key, "landmarks": points}).encode())


def _jpeg(pixels: Pixels, view: ViewSpec) -> bytes:
    low, high = JPEG_QUALITY
    quality = int(np.random.default_rng([view.seed, 1]).integers(low, high))
    infrared = view.spectrum is Spectrum.NIR
    source = np.ascontiguousarray(pixels[..., 0]) if infrared else pixels
    done, buffer = cv2.imencode(".jpg", source, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV could not write a JPEG")
    return buffer.tobytes()


def five_landmarks(marks: NDArray[np.floating]) -> FiveLandmarks:
    """Returns eyes, nose tip and mouth corners of the usual 68 landmarks [68, 2], the picture's left
    first."""
    chosen = (marks[36:42].mean(axis=0), marks[42:48].mean(axis=0), marks[30], marks[48], marks[54])
    first, second, nose, left, right = ((float(x), float(y)) for x, y in chosen)
    return first, second, nose, left, right


def read_facts(job: Job) -> tuple[Picture, ...] | None:
    """Returns the subject's pictures, or None if they are missing or drawn with other settings."""
    try:
        facts = json.loads(job.facts.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if facts["key"] != job.key:
        return None
    pictures = []
    for name, view in job.views:
        first, second, nose, left, right = ((float(x), float(y)) for x, y in facts["landmarks"][name])
        pictures.append(Picture(name, view, (first, second, nose, left, right)))
    return tuple(pictures)
