"""Fixtures: the engine of the real bundle and the faces of the committed samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faces.bundle import read
from faces.types import Face, Image, Pixels, Spectrum
from service.inference.engine import Engine, EngineOptions
from tests.conftest import sample_bytes

OPTIONS = EngineOptions(
    providers=("CPUExecutionProvider",), allow_fallback=False, intra_op_threads=2, max_batch=8, max_queue=64
)
SUBJECTS = ("s01", "s02", "s03", "s04")
NAMES = ("vis_1.jpg", "nir_masked_1.jpg")


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One sample and its largest face."""

    image: Image
    face: Face


def load(bundle_dir: Path) -> Engine:
    return Engine.load(read(bundle_dir), OPTIONS)


def pixels(subject: str, name: str = "vis_1.jpg") -> Pixels:
    decoded = cv2.imdecode(np.frombuffer(sample_bytes(subject, name), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


def see(engine: Engine, image: Image) -> Seen:
    found = engine.detector.run([engine.detector.prepare(image)])[0].faces
    assert found, "no face was found"
    return Seen(image, found[0])


def samples(engine: Engine) -> list[Seen]:
    """Eight faces: four subjects, in visible light and masked in near infrared."""
    light = {"vis_1.jpg": Spectrum.VIS, "nir_masked_1.jpg": Spectrum.NIR}
    return [see(engine, Image(pixels(s, name), light[name])) for s in SUBJECTS for name in NAMES]
