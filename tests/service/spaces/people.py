"""Photos of as many subjects as a test asks for: the committed samples, or LFW's training identities."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faces.image import decode
from faces.types import Point
from service.inference.engine import Engine
from tests.conftest import REPO, sample_bytes
from tests.service.inference.faces import load
from tests.service.spaces.support import LIMITS
from training.data.lfw import Split, read_lfw
from training.synthesis.simple import pseudo_nir

SAMPLES = 14
LFW = REPO.parent / "shared" / "data" / "lfw.tar"
MIN_INTER_EYE_PX = 32.0


@dataclass(frozen=True, slots=True)
class Person:
    """`vis`: the photo to enrol. `probe`: another one, masked and near-infrared (made so, from LFW)."""

    vis: bytes
    probe: bytes


def people(count: int, bundle_dir: Path) -> dict[str, Person]:
    """By subject. Each photo shows one face that the bundle's detector finds. Raises FileNotFoundError
    where so many need LFW and it is not there."""
    if count <= SAMPLES:
        names = [f"s{number + 1:02}" for number in range(count)]
        return {name: Person(sample_bytes(name), sample_bytes(name, "nir_masked_1.jpg")) for name in names}
    engine = load(bundle_dir)
    found: dict[str, Person] = {}
    for identity in read_lfw(LFW, frozenset({Split.TRAIN})):
        if len(identity.photos) < 2:
            continue
        first, second = (photo.data for photo in identity.photos[:2])
        if _face(engine, first) is not None and (probe := _masked_nir(engine, second)) is not None:
            found[f"p{len(found):03}"] = Person(first, probe)
        if len(found) == count:
            return found
    raise AssertionError(f"LFW gave {len(found)} subjects, {count} are needed")


def _face(engine: Engine, photo: bytes) -> Sequence[Point] | None:
    """The landmarks of the only face; None where there is none, a second one, or a small one."""
    image = decode(photo, limits=LIMITS)
    found = engine.detector.run([engine.detector.prepare(image)])[0].faces
    if len(found) != 1 or found[0].inter_eye_px < MIN_INTER_EYE_PX:
        return None
    return found[0].landmarks


def _masked_nir(engine: Engine, photo: bytes) -> bytes | None:
    """The photo as pseudo-NIR with a drawn mask, as PNG; None where no face is found in it."""
    landmarks = _face(engine, photo)
    if landmarks is None:
        return None
    rng = np.random.default_rng(zlib.crc32(photo))
    pixels = pseudo_nir(decode(photo, limits=LIMITS).pixels, rng, landmarks=landmarks)
    made = cv2.imencode(".png", pixels)[1].tobytes()
    return None if _face(engine, made) is None else made
