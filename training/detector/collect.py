"""Photos at hand -> labelled pictures: as they are, with drawn masks, in pseudo-NIR.

Only what training may see: LFW's training identities, faces of nobody known, the training half of the
masked photos, even numbers of the scenes without faces; the training family of masks and generators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from faces.image import DecodeLimits, decode
from faces.types import CONDITIONS, Condition, Image, Spectrum
from training.data.lfw import Photo
from training.data.photo_sources import Shot, Terms, extra_shots, lfw_shots
from training.detector.labels import Labeller
from training.detector.pictures import Kind, Known, Picture
from training.networks.onnx_runner import BundleRunner
from training.views.conditions import PHOTO, ViewMaker
from training.views.found_faces import find_face

LIMITS = DecodeLimits(max_bytes=1 << 26, max_pixels=1 << 26)
LARGEST_PX = 480
FIRST_HELD_OUT = 450
# How many photos of one identity are taken, and of how many further faces one gets drawn masks.
PHOTOS_EACH, VIEWED_EXTRA = 2, 4
KINDS: dict[Condition, Kind] = dict(zip(CONDITIONS, ("photo", "drawn", "nir", "nir-drawn"), strict=True))
Source = Callable[[], Sequence[Picture]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archives:
    """Where the photos lie. `worn`: folder of photos of masked faces; `empty`: of scenes without faces.
    `further`: of LFW, only the photos that are otherwise left out, as they are."""

    lfw: Path
    extra: Path | None = None
    worn: Path | None = None
    empty: Path | None = None
    terms: Terms = Terms.ALL
    further: bool = False


class Darkroom:
    """Makes the pictures of one photo. Not thread-safe."""

    def __init__(self, labeller: Labeller, runner: BundleRunner, maker: ViewMaker) -> None:
        self._labeller, self._runner, self._maker = labeller, runner, maker

    def bare(self, photo: Photo, *, viewed: bool) -> list[Picture]:
        """A photo, and where `viewed` its largest face with a mask, in pseudo-NIR, and both."""
        found = find_face(photo, self._runner)
        if found is None:
            return []
        known = self._labeller.bare(found.image)
        made = [Picture(source=photo.name, kind="photo", pixels=found.image.pixels, faces=known)]
        if not viewed:
            return made
        for condition, view in self._maker.views(found, photo.name).items():
            if condition != PHOTO:
                faces = _seen_as(known, condition, found.face.box.x)
                pixels = view.image.pixels
                if condition.spectrum is Spectrum.NIR:
                    pixels = np.ascontiguousarray(pixels[:, :, 0])
                name = f"{photo.name} {condition}"
                made.append(Picture(source=name, kind=KINDS[condition], pixels=pixels, faces=faces))
        return made

    def worn(self, path: Path) -> list[Picture]:
        """A photo of a masked face; nothing where the reference detector has no idea where it is."""
        image = opened(path)
        known = self._labeller.worn(image)
        return [Picture(source=path.name, kind="worn", pixels=image.pixels, faces=known)] if known else []

    def empty(self, path: Path) -> list[Picture]:
        """A scene; what might be a face in it teaches nothing."""
        image = opened(path)
        doubtful = tuple(face.model_copy(update={"sure": False}) for face in self._labeller.bare(image))
        return [Picture(source=path.name, kind="empty", pixels=image.pixels, faces=doubtful)]


def _seen_as(known: tuple[Known, ...], condition: Condition, left: float) -> tuple[Known, ...]:
    """Labels in another condition: the largest face's mask is drawn, the background of an infrared
    picture is too dark to be sure of anyone in it."""
    changed = []
    for face in known:
        if face.box[0] == left:
            changed.append(face.model_copy(update={"masked": condition.masked}))
        else:
            sure = face.sure and condition.spectrum is Spectrum.VIS
            changed.append(face.model_copy(update={"sure": sure}))
    return tuple(changed)


def opened(path: Path, *, largest_px: int = LARGEST_PX) -> Image:
    """A photo of any size, shrunk to a longer side of `largest_px` at most."""
    image = decode(path.read_bytes(), limits=LIMITS)
    scale = largest_px / max(image.width, image.height)
    if scale >= 1.0:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return Image(np.asarray(cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA)), image.spectrum)


def worn_photos(folder: Path, *, held_out: bool) -> list[Path]:
    """Photos of masked faces: file numbers below 450 are for training, the others held out."""
    numbered = sorted(path for path in folder.glob("*.*") if path.stem.isdigit())
    return [path for path in numbered if (int(path.stem) >= FIRST_HELD_OUT) == held_out]


def empty_scenes(folder: Path, *, held_out: bool) -> list[Path]:
    """Scenes without faces: even numbers are for training, odd ones held out."""
    return [path for path in sorted(folder.glob("*.jpg")) if int(path.stem[:4]) % 2 == held_out]


def sources(archives: Archives, room: Darkroom, *, seed: int = 0) -> list[Source]:
    """What there is to make, in an order of chance: any first part is a fair sample of all."""
    every: list[Source] = []
    shots = few_each(lfw_shots(archives.lfw), further=archives.further)
    every += [partial(room.bare, shot.photo, viewed=first) for shot, first in shots]
    if archives.extra is not None:
        more = extra_shots(archives.extra, terms=archives.terms)
        every += [partial(room.bare, shot.photo, viewed=i % VIEWED_EXTRA == 0) for i, shot in enumerate(more)]
    if archives.worn is not None:
        every += [partial(room.worn, path) for path in worn_photos(archives.worn, held_out=False)]
    if archives.empty is not None:
        every += [partial(room.empty, path) for path in empty_scenes(archives.empty, held_out=False)]
    return [every[i] for i in np.random.default_rng(seed).permutation(len(every))]


def few_each(shots: Iterator[Shot], *, further: bool) -> Iterator[tuple[Shot, bool]]:
    """The first photos of each subject, or all but those, and whether it is the very first."""
    taken: dict[str, int] = {}
    for shot in shots:
        taken[shot.subject] = taken.get(shot.subject, 0) + 1
        if (taken[shot.subject] > PHOTOS_EACH) == further:
            yield shot, taken[shot.subject] == 1
