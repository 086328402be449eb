"""Makes labelled pictures of photos: as taken, with drawn masks, in pseudo-NIR.

It uses training data only: LFW's training identities, further faces, the training half of the masked
photos, even numbers of the scenes without faces, the training family of masks and NIR generators.
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
from training.data.lfw import Photo, Split
from training.data.photo_sources import Shot, Terms, extra_shots, lfw_shots
from training.detector.labels import Labeller
from training.detector.pictures import Kind, LabelledFace, Picture
from training.networks.onnx_runner import BundleRunner
from training.synthesis.simple import pseudo_nir
from training.views.conditions import PHOTO, ViewMaker
from training.views.found_faces import find_face

LIMITS = DecodeLimits(max_bytes=1 << 26, max_pixels=1 << 26)
LARGEST_PX = 480
FIRST_HELD_OUT = 450
# Photos used of one identity; one of so many further faces gets drawn masks and pseudo-NIR.
PHOTOS_EACH, VIEWED_EXTRA = 2, 4
KINDS: dict[Condition, Kind] = dict(zip(CONDITIONS, ("photo", "drawn", "nir", "nir-drawn"), strict=True))
Source = Callable[[], Sequence[Picture]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archives:
    """Paths of the photos. `worn` is a folder of photos of masked faces, `empty` of scenes without faces.
    With `further`, LFW gives only the photos that are otherwise left out; with `validation`, every photo of
    its validation identities as it is, and no more."""

    lfw: Path
    extra: Path | None = None
    worn: Path | None = None
    empty: Path | None = None
    terms: Terms = Terms.ALL
    further: bool = False
    validation: bool = False


class PictureMaker:
    """Makes the pictures of one photo. Not thread-safe."""

    def __init__(self, labeller: Labeller, runner: BundleRunner, maker: ViewMaker) -> None:
        self._labeller, self._runner, self._maker = labeller, runner, maker

    def from_photo(self, photo: Photo, *, viewed: bool) -> list[Picture]:
        """Returns the photo; with `viewed` also its largest face masked, in pseudo-NIR, and both."""
        found = find_face(photo, self._runner)
        if found is None:
            return []
        known = self._labeller.label_unmasked(found.image)
        made = [Picture(source=photo.name, kind="photo", pixels=found.image.pixels, faces=known)]
        if not viewed:
            return made
        for condition, view in self._maker.views(found, photo.name).items():
            if condition != PHOTO:
                faces = _relabel(known, condition, found.face.box.x)
                pixels = view.image.pixels
                if condition.spectrum is Spectrum.NIR:
                    pixels = np.ascontiguousarray(pixels[:, :, 0])
                name = f"{photo.name} {condition}"
                made.append(Picture(source=name, kind=KINDS[condition], pixels=pixels, faces=faces))
        return made

    def from_masked_photo(self, path: Path) -> list[Picture]:
        """Returns a photo of a masked face and its pseudo-NIR view, or nothing if the reference detector
        finds no face in it."""
        image = open_shrunk(path)
        known = self._labeller.label_masked(image)
        if not known:
            return []
        # Real masks in infrared light are not at hand: this is the nearest to them.
        grey = pseudo_nir(image.pixels, np.random.default_rng(int(path.stem)))[:, :, 0]
        return [
            Picture(source=path.name, kind="worn", pixels=image.pixels, faces=known),
            Picture(
                source=f"{path.name} nir",
                kind="nir-worn",
                pixels=np.ascontiguousarray(grey),
                faces=known,
            ),
        ]

    def from_empty_scene(self, path: Path) -> list[Picture]:
        """Returns a scene without faces; detections in it become doubtful faces."""
        image = open_shrunk(path)
        doubtful = tuple(
            face.model_copy(update={"sure": False}) for face in self._labeller.label_unmasked(image)
        )
        return [Picture(source=path.name, kind="empty", pixels=image.pixels, faces=doubtful)]


def _relabel(known: tuple[LabelledFace, ...], condition: Condition, left: float) -> tuple[LabelledFace, ...]:
    """Returns the labels of another condition.

    Only the largest face gets the mask. Other faces of an infrared picture become doubtful, because its
    background is dark.
    """
    changed = []
    for face in known:
        if face.box[0] == left:
            changed.append(face.model_copy(update={"masked": condition.masked}))
        else:
            sure = face.sure and condition.spectrum is Spectrum.VIS
            changed.append(face.model_copy(update={"sure": sure}))
    return tuple(changed)


def open_shrunk(path: Path, *, largest_px: int = LARGEST_PX) -> Image:
    """Reads a photo and shrinks it to a longer side of at most `largest_px`."""
    image = decode(path.read_bytes(), limits=LIMITS)
    scale = largest_px / max(image.width, image.height)
    if scale >= 1.0:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return Image(np.asarray(cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA)), image.spectrum)


def masked_photos(folder: Path, *, held_out: bool) -> list[Path]:
    """Lists photos of masked faces: file numbers below 450 are for training, the others are held out."""
    numbered = sorted(path for path in folder.glob("*.*") if path.stem.isdigit())
    return [path for path in numbered if (int(path.stem) >= FIRST_HELD_OUT) == held_out]


def empty_scenes(folder: Path, *, held_out: bool) -> list[Path]:
    """Lists scenes without faces: even numbers are for training, odd ones are held out."""
    return [path for path in sorted(folder.glob("*.jpg")) if int(path.stem[:4]) % 2 == held_out]


def picture_sources(archives: Archives, maker: PictureMaker, *, seed: int = 0) -> list[Source]:
    """Lists the sources in random order, so that the first ones are a fair sample of all."""
    every: list[Source] = []
    if archives.validation:
        shown = lfw_shots(archives.lfw, Split.VALIDATION)
        return [partial(maker.from_photo, shot.photo, viewed=False) for shot in shown]
    shots = select_photos(lfw_shots(archives.lfw), further=archives.further)
    every += [partial(maker.from_photo, shot.photo, viewed=first) for shot, first in shots]
    if archives.extra is not None:
        more = extra_shots(archives.extra, terms=archives.terms)
        every += [
            partial(maker.from_photo, shot.photo, viewed=i % VIEWED_EXTRA == 0) for i, shot in enumerate(more)
        ]
    if archives.worn is not None:
        every += [
            partial(maker.from_masked_photo, path) for path in masked_photos(archives.worn, held_out=False)
        ]
    if archives.empty is not None:
        every += [
            partial(maker.from_empty_scene, path) for path in empty_scenes(archives.empty, held_out=False)
        ]
    return [every[i] for i in np.random.default_rng(seed).permutation(len(every))]


def select_photos(shots: Iterator[Shot], *, further: bool) -> Iterator[tuple[Shot, bool]]:
    """Yields the first photos of each subject, or with `further` the others, and whether it is the
    first one."""
    taken: dict[str, int] = {}
    for shot in shots:
        taken[shot.subject] = taken.get(shot.subject, 0) + 1
        if (taken[shot.subject] > PHOTOS_EACH) == further:
            yield shot, taken[shot.subject] == 1
