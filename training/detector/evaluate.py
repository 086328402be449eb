"""Compares detectors on the same pictures: recall, landmarks, mask state, false positives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from faces.rates.intervals import Interval, clopper_pearson
from faces.rates.resampling import percentiles, weights
from faces.types import CONDITIONS, Box, Image, Spectrum
from training.detector.candidates import Candidate
from training.detector.collect import KINDS
from training.detector.matching import Matched, Recall, match, recall_at, recall_at_false_positives
from training.detector.pictures import Entry, Kind, Pictures
from training.detector.scenes import Composer, ScenesConfig, face_arrays

Floats = NDArray[np.float64]
MOSAIC_PX = 640
# Two detections mean one face if their middles lie apart by less than this share of the box.
SAME_SHARE = 0.25
# 2 to 5 pictures in a row: 13 faces on average, of 25 to 300 px.
MOSAIC_GRIDS = (0.0, 0.25, 0.25, 0.25, 0.25)
SPECTRUM_OF: Mapping[Kind, Spectrum] = {kind: condition.spectrum for condition, kind in KINDS.items()}
MASKED_KINDS = frozenset(kind for condition, kind in KINDS.items() if condition.masked)


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Mean error, divided by the distance between the eyes, over pictures that every candidate found.

    `mesh`: against the mesh on the clean photo, after the candidate's constant offset is removed, because
    mesh and detectors define the points differently; `photo`: against the first candidate on the clean
    photo.
    """

    mesh: Interval
    photo: Interval
    pictures: int


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One candidate on one kind of pictures. `single` and `mosaic`: recall at one false positive per picture;
    `working`: recall on single pictures at the service's threshold; `state`: share of right mask states;
    `meant`: share of single pictures in which the first candidate means the same face, or none either."""

    candidate: str
    single: Recall
    working: Recall
    mosaic: Recall
    landmarks: Landmarks
    state: Interval
    meant: Interval


@dataclass(frozen=True, slots=True, eq=False)
class MaskedPhotoRates:
    """Shares of real photos of masked faces with a face found, and with the right mask state."""

    candidate: str
    found: Interval
    state: Interval
    photos: int


@dataclass(slots=True, eq=False)
class _Detections:
    """Detections of a candidate on the pictures of one kind."""

    matched: list[Matched] = field(default_factory=list)
    points: dict[str, Floats] = field(default_factory=dict)
    states: list[bool] = field(default_factory=list)
    meant: list[Box | None] = field(default_factory=list)


def load_image(pictures: Pictures, index: int) -> Image:
    """Returns a picture as an Image; a grey one gets three equal channels."""
    pixels, kind = pictures.pixels(index), pictures.entry(index).kind
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return Image(np.array(pixels), SPECTRUM_OF.get(kind, Spectrum.VIS))


def photo_name(entry: Entry) -> str:
    """Returns the name of the photo that a picture was made from."""
    return entry.source.split(" ")[0]


def compare(candidates: Sequence[Candidate], pictures: Pictures, *, mosaics: int) -> dict[Kind, list[Row]]:
    """Measures every kind of trial pictures; the first candidate is the reference of `Landmarks.photo`."""
    clean: dict[str, Floats] = {}
    rows: dict[Kind, list[Row]] = {}
    for condition in CONDITIONS:
        kind = KINDS[condition]
        chosen = [i for i, entry in enumerate(pictures) if entry.kind == kind]
        seen = [_singles(candidate, pictures, chosen) for candidate in candidates]
        clean = clean or seen[0].points
        landmarks = _landmarks(seen, pictures, chosen, clean)
        rows[kind] = [
            Row(
                candidate.name,
                recall_at_false_positives(one.matched),
                recall_at(one.matched, candidate.runner.spec.score_threshold),
                recall_at_false_positives(_mosaics(candidate, pictures, kind, mosaics)),
                error,
                _share(one.states),
                _share([_same(*pair) for pair in zip(one.meant, seen[0].meant, strict=True)]),
            )
            for candidate, one, error in zip(candidates, seen, landmarks, strict=True)
        ]
    return rows


def _same(box: Box | None, other: Box | None) -> bool:
    """Tells whether two boxes lie in one place, or neither is there."""
    if box is None or other is None:
        return box is other
    middle, there = ((b.x + b.width / 2, b.y + b.height / 2) for b in (box, other))
    return max(abs(a - b) for a, b in zip(middle, there, strict=True)) < SAME_SHARE * max(
        box.width, box.height
    )


def _share(states: Sequence[bool]) -> Interval:
    return clopper_pearson(sum(states), len(states)) if states else Interval(0.0, 0.0, 1.0)


def _singles(candidate: Candidate, pictures: Pictures, chosen: Sequence[int]) -> _Detections:
    seen = _Detections()
    for index in chosen:
        entry, image = pictures.entry(index), load_image(pictures, index)
        every = candidate.low.look(image)
        known = face_arrays(list(entry.faces))
        one = match(every, known)
        seen.matched.append(one)
        faces = [face for face in every if face.score >= candidate.runner.spec.score_threshold]
        seen.meant.append(max(faces, key=lambda face: face.weight).box if faces else None)
        # Only the landmarks of the first face are known.
        if one.found[0] >= 0 and one.scores[0] >= candidate.runner.spec.score_threshold:
            face = every[int(one.found[0])]
            seen.points[photo_name(entry)] = np.array(face.landmarks)
            seen.states.append(candidate.masked(image, face) == (entry.kind in MASKED_KINDS))
    return seen


def _mosaics(candidate: Candidate, pictures: Pictures, kind: Kind, count: int) -> list[Matched]:
    config = ScenesConfig(grids=MOSAIC_GRIDS, kinds={kind: 1.0}, occluded=0.0, clear=0.0, smallest_px=16.0)
    composer = Composer(pictures, config, MOSAIC_PX)
    done = []
    for number in range(count):
        scene = composer.scene(np.random.default_rng([number, MOSAIC_PX]))
        done.append(match(candidate.low.look(Image(scene.pixels, SPECTRUM_OF[kind])), scene.faces))
    return done


def _landmarks(
    seen: Sequence[_Detections], pictures: Pictures, chosen: Sequence[int], clean: Mapping[str, Floats]
) -> list[Landmarks]:
    entries = {photo_name(pictures.entry(i)): pictures.entry(i) for i in chosen}
    common = [name for name in entries if name in clean and all(name in one.points for one in seen)]
    truth = np.array([entries[name].faces[0].landmarks for name in common])
    photo = np.array([clean[name] for name in common])
    found = []
    for one in seen:
        points = np.array([one.points[name] for name in common])
        found.append(
            Landmarks(
                _mean(normalised_error(points, truth, unbiased=True)),
                _mean(normalised_error(points, photo, unbiased=False)),
                len(common),
            )
        )
    return found


def normalised_error(points: Floats, truth: Floats, *, unbiased: bool) -> Floats:
    """Returns the mean distance [n] of five points [n, 5, 2] from the truth, in true distances of the eyes.

    With `unbiased` it first removes the mean offset of each point, in a frame along the line of the eyes.
    """
    across = truth[:, 1] - truth[:, 0]
    eyes = np.maximum(np.linalg.norm(across, axis=1), 1e-6)
    along = across / eyes[:, None]
    miss = (points - truth) / eyes[:, None, None]
    turned = np.stack(
        [
            miss[..., 0] * along[:, None, 0] + miss[..., 1] * along[:, None, 1],
            miss[..., 1] * along[:, None, 0] - miss[..., 0] * along[:, None, 1],
        ],
        axis=-1,
    )
    if unbiased:
        turned = turned - turned.mean(axis=0)
    error: Floats = np.linalg.norm(turned, axis=2).mean(axis=1)
    return error


def _mean(errors: Floats) -> Interval:
    drawn = weights(len(errors))
    return percentiles(float(errors.mean()), drawn @ errors / len(errors))


def evaluate_masked_photos(candidate: Candidate, images: Sequence[Image]) -> MaskedPhotoRates:
    """Measures photos whose largest face wears a mask; detects as the service does."""
    largest = [(image, faces[0]) for image in images if (faces := candidate.runner.faces(image))]
    states = [candidate.masked(image, face) for image, face in largest]
    return MaskedPhotoRates(
        candidate.name, clopper_pearson(len(states), len(images)), _share(states), len(images)
    )


def false_positives_per_scene(candidate: Candidate, images: Sequence[Image]) -> float:
    """Returns the mean false positives per scene without faces, at the threshold of the service."""
    return float(np.mean([len(candidate.runner.look(image)) for image in images]))
