"""Collects what a detector takes for faces, with the truth: the examples of a verifier.

An example is the surroundings of a detection, wider than the verifier looks, so that training can move and
turn them. Detections come from pictures as they are, from composed scenes (half hidden faces, borders, every
exposure) and from parts of scenes without faces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.bundle import LookWindow
from faces.detect import LOOKS
from faces.files import write_array
from faces.second_look import window_canvas
from faces.types import Face, Image, Pixels, Spectrum
from training.data.records import DataSetError
from training.detector.camera import CameraConfig, apply_camera
from training.detector.candidates import Candidate
from training.detector.evaluate import load_image
from training.detector.matching import area, corners, match, shared_area
from training.detector.pictures import Pictures
from training.detector.sampler import HardNegative
from training.detector.scenes import Composer, FaceArrays, ScenesConfig, face_arrays

# An example shows so many times the longer side of a detection, in pixels of its own.
AROUND, EXAMPLE_PX = LookWindow(times=3.0), 96
# Detections below teach nothing; of the faces that score more than `CLEAR`, one in `CLEAR_EACH` is kept.
LOWEST_SCORE, CLEAR, CLEAR_EACH = 0.2, 0.85, 6
# A false detection that shares more of its area with a labelled face is no example: it shows that face.
TOUCHES = 0.2
NAMES = ("crops", "faces", "scores")


@dataclass(frozen=True, slots=True, eq=False)
class Doubts:
    """Examples: `crops` uint8 [n, 96, 96, 3], whether each shows a face [n], the detector's score [n]."""

    crops: Pixels
    faces: NDArray[np.bool_]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.faces)


Example = tuple[Pixels, bool, float]


def examples_in(
    candidate: Candidate, image: Image, known: FaceArrays, rng: np.random.Generator, *, zoom: float = 1.0
) -> tuple[list[Example], list[Face]]:
    """Returns the examples of one picture, and its false detections."""
    seen = [face for face in candidate.low.look(image, zoom=zoom) if face.score >= LOWEST_SCORE]
    found = match(seen, known)
    true = [int(i) for i in found.found if i >= 0]
    false = [int(i) for i in found.false]
    if false and len(known):
        boxes = corners([seen[i] for i in false])
        shared = shared_area(boxes, known.boxes) / np.maximum(area(boxes)[:, None], 1e-9)
        false = [i for i, most in zip(false, shared.max(axis=1), strict=True) if most <= TOUCHES]
    kept = [i for i in true if seen[i].score < CLEAR or rng.integers(CLEAR_EACH) == 0]
    made = [
        (window_canvas(image, seen[i].box, AROUND, side_px=EXAMPLE_PX), is_face, seen[i].score)
        for chosen, is_face in ((kept, True), (false, False))
        for i in chosen
    ]
    return made, [seen[i] for i in false]


def of_pictures(
    candidate: Candidate, pictures: Pictures, *, seed: int = 0
) -> Iterator[tuple[list[Example], list[HardNegative]]]:
    """Yields the examples of each picture as it is, and its false detections as places."""
    for index, entry in enumerate(pictures):
        rng = np.random.default_rng([seed, index])
        made, false = examples_in(candidate, load_image(pictures, index), face_arrays(list(entry.faces)), rng)
        yield (
            made,
            [
                HardNegative(
                    source=entry.source,
                    box=(face.box.x, face.box.y, face.box.width, face.box.height),
                    score=face.score,
                )
                for face in false
            ],
        )


def of_scenes(
    candidate: Candidate,
    pictures: Pictures,
    config: tuple[ScenesConfig, CameraConfig],
    *,
    hard: Sequence[HardNegative],
    side_px: int,
    count: int,
    seed: int = 1,
) -> Iterator[list[Example]]:
    """Yields the examples of each of `count` composed scenes, seen by random cameras."""
    composer = Composer(pictures, config[0], side_px, hard=hard)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        scene = composer.scene(rng)
        image = Image(apply_camera(scene.pixels, config[1], rng), Spectrum.VIS)
        yield examples_in(candidate, image, scene.faces, rng)[0]


def of_empty(
    candidate: Candidate, images: Sequence[Image], *, parts: int, seed: int = 2
) -> Iterator[list[Example]]:
    """Yields the examples of scenes without faces: of each whole one, and of `parts` random parts of it."""
    nothing = face_arrays([])
    for number, image in enumerate(images):
        rng = np.random.default_rng([seed, number])
        shown = [image]
        for _ in range(parts):
            side = int(rng.uniform(0.2, 0.7) * min(image.width, image.height))
            left, top = (int(rng.integers(full - side + 1)) for full in (image.width, image.height))
            part = image.pixels[top : top + side, left : left + side]
            shown.append(Image(np.ascontiguousarray(part), image.spectrum))
        made: list[Example] = []
        for i, one in enumerate(shown):
            for zoom in LOOKS if i == 0 else LOOKS[:1]:
                made += examples_in(candidate, one, nothing, rng, zoom=zoom)[0]
        yield made


def write_doubts(folder: Path, examples: Sequence[Example]) -> None:
    """Writes the examples as three arrays, each whole. Raises DataSetError if one kind is missing."""
    faces = np.array([is_face for _, is_face, _ in examples], np.bool_)
    if not faces.any() or faces.all():
        raise DataSetError(f"{int(faces.sum())} faces of {len(faces)} examples: a verifier needs both kinds")
    folder.mkdir(parents=True, exist_ok=True)
    arrays: tuple[NDArray[np.generic], ...] = (
        np.stack([crop for crop, _, _ in examples]),
        faces,
        np.array([score for _, _, score in examples], np.float32),
    )
    for name, array in zip(NAMES, arrays, strict=True):
        write_array(folder / f"{name}.npy", array)


def read_doubts(folder: Path) -> Doubts:
    """Raises DataSetError if the folder holds no examples."""
    try:
        crops, faces, scores = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in NAMES)
    except (OSError, ValueError) as error:
        raise DataSetError(
            f"{folder.name} holds no examples: make them with `detector verifier examples`"
        ) from error
    wanted = (len(faces), EXAMPLE_PX, EXAMPLE_PX, 3)
    if crops.shape != wanted or crops.dtype != np.uint8 or scores.shape != faces.shape:
        raise DataSetError(
            f"{folder.name}: its examples are not those of one run of `detector verifier examples`"
        )
    return Doubts(crops, np.array(faces, np.bool_), np.array(scores, np.float32))
