"""One picture -> its crops or a refusal, the same in whichever process it is done."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from faces.align import ALIGNMENTS, MIN_INTER_EYE_PX, AlignError, align, similarity
from faces.bundle import read as read_bundle
from faces.image import DecodeLimits, ImageError, decode
from faces.types import Face, Image, Pixels, Point
from training.data.loaded import Choice, Place, Reader
from training.data.prepared import Refused, Row
from training.data.records import Sample
from training.networks.onnx_runner import BundleRunner
from training.views.locate import Detect, How, Located, NoFace, locate
from training.views.masking import MaskOptions, Wardrobe, plain

LIMITS = DecodeLimits(max_bytes=64 << 20, max_pixels=64_000_000)
Code = Literal["missing", "undecodable", "no_face", "too_small"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """How every picture of a set is treated. `bundle`: whose detector is used; None: no detection."""

    alignment: str = "arcface-112"
    seed: int = 0
    min_inter_eye_px: float = MIN_INTER_EYE_PX
    choice: Choice = "largest"
    aligned_to: str | None = None
    bundle: Path | None = None
    masks: MaskOptions = field(default_factory=MaskOptions)


@dataclass(frozen=True, slots=True)
class Task:
    """One sample and the part it plays."""

    sample: Sample
    place: Place

    @property
    def source(self) -> str:
        return self.sample.path.as_posix()


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One crop, its row, and how its face was found."""

    row: Row
    pixels: Pixels
    how: How


Made: TypeAlias = Crop | Refused


def refused(task: Task, code: Code, detail: str, *, masked: bool = False) -> Refused:
    return Refused(
        source=task.source,
        subject=task.sample.subject,
        spectrum=task.sample.spectrum,
        code=code,
        detail=detail,
        masked=masked,
        split=task.place.split,
        role=task.place.role,
    )


def rng_of(seed: int, source: str) -> np.random.Generator:
    """Random numbers that depend on the seed and the picture's name alone."""
    digest = hashlib.sha256(f"{seed}\0{source}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


class Workshop:
    """The opened networks of one process. Raises BundleError, SynthesisError."""

    def __init__(self, reader: Reader, options: WorkOptions, *, detect: Detect | None = None) -> None:
        self._reader, self._options = reader, options
        if detect is None and options.bundle is not None:
            detect = BundleRunner(read_bundle(options.bundle), threads=1).faces
        self._detect = detect
        self._wardrobe = Wardrobe(options.masks)

    def make(self, task: Task) -> Sequence[Made]:
        """The unmasked crop, then the masked one where it is wanted; or why not."""
        try:
            data = self._reader.read(task.sample.path)
        except OSError as error:
            return [refused(task, "missing", error.strerror or "the file cannot be read")]
        try:
            image = decode(data, limits=LIMITS, spectrum=task.sample.spectrum)
        except ImageError as error:
            return [refused(task, "undecodable", str(error))]
        o = self._options
        try:
            found = locate(
                image, detect=self._detect, eyes=task.sample.eyes, choice=o.choice, aligned_to=o.aligned_to
            )
        except NoFace as error:
            return [refused(task, "no_face", str(error))]
        apart = found.face.inter_eye_px
        if apart < o.min_inter_eye_px:
            detail = f"the eyes are {apart:.1f} px apart, at least {o.min_inter_eye_px:g} are needed"
            return [refused(task, "too_small", detail)]
        return self._crops(task, image, found)

    def _crops(self, task: Task, image: Image, found: Located) -> list[Made]:
        masks = self._options.masks
        unmasked = image if masks.masked == "none" else plain(image)
        made = [self._crop(task, unmasked, found, mask=None)]
        if isinstance(made[0], Refused) or not masks.applies(image.spectrum):
            return made
        rng = rng_of(self._options.seed, task.source)
        worn = self._wardrobe.wear(image, found.face, rng, held_out=masks.held_out(task.place))
        if worn is None:
            made.append(refused(task, "no_face", "no face mesh fits, so no mask can be worn", masked=True))
        else:
            made.append(self._crop(task, worn.image, found, mask=worn.mask))
        return made

    def _crop(self, task: Task, image: Image, found: Located, *, mask: str | None) -> Made:
        alignment = self._options.alignment
        try:
            crop = align(image, found.face, alignment)
        except AlignError as error:
            return refused(task, "no_face", str(error), masked=mask is not None)
        row = Row(
            source=task.source,
            subject=task.sample.subject,
            spectrum=task.sample.spectrum,
            masked=mask is not None,
            split=task.place.split,
            role=task.place.role,
            mask=mask,
            landmarks=_in_crop(found.face, alignment),
        )
        return Crop(row, crop.pixels, found.how)


def _in_crop(face: Face, alignment: str) -> tuple[Point, ...]:
    """The landmarks in the crop's pixels, to a hundredth."""
    matrix = similarity(face.landmarks, ALIGNMENTS[alignment])
    points = np.array(face.landmarks) @ matrix[:, :2].T + matrix[:, 2]
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in points)
