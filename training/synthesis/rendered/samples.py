"""Makes the committed demo set: a few subjects with visible enrolment photos and masked NIR probes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from faces.types import Pixels, Spectrum
from training.synthesis.rendered.draw import draw_identity, draw_mask, draw_subject, draw_view
from training.synthesis.rendered.model import FaceModel
from training.synthesis.rendered.render import render
from training.synthesis.rendered.spec import SubjectSpec

VIEWS_PER_KIND = 2
IMPOSTORS = 2
CANDIDATES = 64
EYE_OPENING = (0.22, 0.44)
# Outer corner, upper lid, inner corner, lower lid: numbers of the 68 landmarks.
EYES = ((36, (37, 38), 39, (41, 40)), (45, (44, 43), 42, (46, 47)))
MAX_BYTES = 20_000
QUALITIES = (92, 90, 88, 85, 80, 75, 70)
INDEX_FILE = "samples.json"

Kind = Literal["vis", "nir_masked"]
KINDS: tuple[Kind, ...] = ("vis", "nir_masked")


@dataclass(frozen=True, slots=True)
class SampleFile:
    """One picture of the set: the file `name` in the folder `subject_id`."""

    subject: int
    subject_id: str
    kind: Kind
    view: int

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.view + 1}.jpg"


def plan(subjects: int) -> tuple[SampleFile, ...]:
    """Lists every picture of the set, in order."""
    return tuple(
        SampleFile(subject, f"s{subject + 1:02d}", kind, view)
        for subject in range(subjects)
        for kind in KINDS
        for view in range(VIEWS_PER_KIND)
    )


def eye_opening(model: FaceModel, identity: tuple[float, ...]) -> float:
    """Returns the height of the narrower eye over its width, from the lid landmarks; about 0.3 at rest."""
    weights = np.asarray(identity, np.float32)
    moved = np.tensordot(weights, model.identity[:, model.landmarks].astype(np.float32), axes=1)
    marks = model.neutral[model.landmarks] + moved
    ratios = []
    for outer, upper, inner, lower in EYES:
        lids = np.linalg.norm(marks[list(upper)] - marks[list(lower)], axis=1).mean()
        ratios.append(float(lids / np.linalg.norm(marks[outer] - marks[inner])))
    return min(ratios)


def population(model: FaceModel, *, subjects: int, seed: int) -> tuple[SubjectSpec, ...]:
    """Draws subjects that differ, by Mitchell's best candidate.

    Each face shape is the one of CANDIDATES draws that is furthest from all before it, measured on the part
    that a mask leaves free. Draws with nearly closed or staring eyes are skipped.
    """
    x, y, z = model.neutral.T
    free = (np.abs(x) < 6.0) & (y > 1.0) & (y < 8.5) & (z > 5.0) & (np.arange(len(x)) < 11248)
    effect = np.sqrt((model.identity[:, free].astype(np.float32) ** 2).mean(axis=(1, 2)))
    chosen: list[SubjectSpec] = []
    for turn in range(subjects):
        rng = np.random.default_rng([seed, turn])
        draws = [draw_identity(rng) for _ in range(CANDIDATES)]
        low, high = EYE_OPENING
        draws = [draw for draw in draws if low <= eye_opening(model, draw) <= high] or draws
        before = np.array([subject.identity for subject in chosen]).reshape(-1, len(effect))
        gaps = [
            np.linalg.norm((before - np.array(draw)) * effect, axis=1).min(initial=np.inf) for draw in draws
        ]
        identity = draws[int(np.argmax(gaps))]
        chosen.append(draw_subject(rng, f"s{turn + 1:02d}", turn=turn, identity=identity))
    return tuple(chosen)


def make(sample: SampleFile, subject: SubjectSpec, model: FaceModel, *, seed: int, size_px: int) -> bytes:
    """Renders one picture as JPEG; near-infrared is single-channel grey."""
    infrared = sample.kind == "nir_masked"
    order = KINDS.index(sample.kind) * VIEWS_PER_KIND + sample.view
    rng = np.random.default_rng([seed, sample.subject, order])
    view = draw_view(
        rng,
        Spectrum.NIR if infrared else Spectrum.VIS,
        mask=draw_mask(rng) if infrared else None,
        size_px=size_px,
    )
    pixels = render(subject, view, model)
    return encode(pixels[..., 0] if infrared else pixels)


def encode(pixels: Pixels) -> bytes:
    """Encodes JPEG at the best listed quality below MAX_BYTES, or at the last one."""
    data = b""
    for quality in QUALITIES:
        done, buffer = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise RuntimeError("OpenCV could not write a JPEG")
        data = buffer.tobytes()
        if len(data) < MAX_BYTES:
            break
    return data


def index(subjects: int) -> str:
    """Returns samples.json: file names relative to the subject's folder; the last two are not enrolled."""
    rows = [
        {
            "subject_id": f"s{subject + 1:02d}",
            "enrol": subject < subjects - IMPOSTORS,
            **{kind: [f"{kind}_{view + 1}.jpg" for view in range(VIEWS_PER_KIND)] for kind in KINDS},
        }
        for subject in range(subjects)
    ]
    return json.dumps({"subjects": rows}, indent=2) + "\n"


def write(
    out: Path, model: FaceModel, *, subjects: int, seed: int, size_px: int = 320
) -> Iterator[SampleFile]:
    """Writes the set below `out`; yields each picture once it is on disk."""
    specs = population(model, subjects=subjects, seed=seed)
    for sample in plan(subjects):
        place = out / sample.subject_id / sample.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(make(sample, specs[sample.subject], model, seed=seed, size_px=size_px))
        yield sample
    (out / INDEX_FILE).write_text(index(subjects))
