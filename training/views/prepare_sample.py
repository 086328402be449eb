"""Turns one picture of a data set into crops or a refusal; the same in whichever process it is done."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from faces.align import ALIGNMENTS, MIN_INTER_EYE_PX, AlignError, align, similarity
from faces.bundle import read as read_bundle
from faces.formats import ImageError
from faces.image import DecodeLimits, decode
from faces.types import Condition, Face, Image, Pixels, Point
from training.data.generated import Generated
from training.data.loaded import Choice, Place, Reader
from training.data.prepared import Refused, Row
from training.data.records import Sample
from training.networks.onnx_runner import BundleRunner
from training.views.locate import Detect, How, LocatedFace, NoFace, locate
from training.views.masking import MaskApplier, MaskOptions, through_linear_light
from training.views.row_facts import Code, RowFacts

LIMITS = DecodeLimits(max_bytes=64 << 20, max_pixels=64_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """How every picture of a set is processed.

    `bundle`: its detector finds the faces, None: no detection; `aligned_to`: the template that the pictures
    are aligned to already; `generated`: the mark of a folder whose pictures nobody photographed.
    """

    alignment: str = "arcface-112"
    seed: int = 0
    min_inter_eye_px: float = MIN_INTER_EYE_PX
    choice: Choice = "largest"
    aligned_to: str | None = None
    bundle: Path | None = None
    masks: MaskOptions = field(default_factory=MaskOptions)
    generated: Generated | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One sample and the part it plays."""

    sample: Sample
    place: Place

    @property
    def source(self) -> str:
        """The picture's path below the data set's root."""
        return self.sample.path.as_posix()

    @property
    def facts(self) -> RowFacts:
        """What all its rows share."""
        return RowFacts(
            source=self.source,
            subject=self.sample.subject,
            split=self.place.split,
            role=self.place.role,
        )

    def refused(self, code: Code, detail: str, *, masked: bool = False) -> Refused:
        """A refusal of the sample, or of its masked copy."""
        return self.facts.refused(Condition(self.sample.spectrum, masked), detail, code=code)


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """One crop [side, side, 3], its row, and how its face was found."""

    row: Row
    pixels: Pixels
    how: How


CropOrRefusal: TypeAlias = Crop | Refused


def sample_rng(seed: int, source: str) -> np.random.Generator:
    """A generator of random numbers that depends on the seed and the picture's name alone."""
    digest = hashlib.sha256(f"{seed}\0{source}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


class SamplePreparer:
    """Prepares samples with the opened networks of one process.

    Raises BundleError or SynthesisError if a file is missing.
    """

    def __init__(self, reader: Reader, options: WorkOptions, *, detect: Detect | None = None) -> None:
        self._reader, self._options = reader, options
        if detect is None and options.bundle is not None:
            detect = BundleRunner(read_bundle(options.bundle), threads=1).faces
        self._detect = detect
        self._masks = MaskApplier(options.masks)

    def prepare(self, task: Task) -> Sequence[CropOrRefusal]:
        """The unmasked crop, then the masked one if the options ask for it; refusals in their places."""
        try:
            data = self._reader.read(task.sample.path)
        except OSError as error:
            return [task.refused("missing", error.strerror or "the file cannot be read")]
        try:
            image = decode(data, limits=LIMITS, spectrum=task.sample.spectrum)
        except ImageError as error:
            return [task.refused("undecodable", str(error))]
        o = self._options
        try:
            found = locate(
                image, detect=self._detect, eyes=task.sample.eyes, choice=o.choice, aligned_to=o.aligned_to
            )
        except NoFace as error:
            return [task.refused("no_face", str(error))]
        apart = found.face.inter_eye_px
        if apart < o.min_inter_eye_px:
            detail = f"the eyes are {apart:.1f} px apart, at least {o.min_inter_eye_px:g} are needed"
            return [task.refused("too_small", detail)]
        return self._crops(task, image, found)

    def _crops(self, task: Task, image: Image, found: LocatedFace) -> list[CropOrRefusal]:
        masks = self._options.masks
        unmasked = image if masks.masked == "none" else through_linear_light(image)
        made = [self._crop(task, unmasked, found, mask=None)]
        if isinstance(made[0], Refused) or not masks.applies(image.spectrum):
            return made
        rng = sample_rng(self._options.seed, task.source)
        masked = self._masks.apply(image, found.face, rng, held_out=masks.held_out(task.place))
        if masked is None:
            made.append(task.refused("no_face", "no face mesh fits, so no mask can be worn", masked=True))
        else:
            made.append(self._crop(task, masked.image, found, mask=masked.mask))
        return made

    def _crop(self, task: Task, image: Image, found: LocatedFace, *, mask: str | None) -> CropOrRefusal:
        alignment = self._options.alignment
        try:
            crop = align(image, found.face, alignment)
        except AlignError as error:
            return task.refused("no_face", str(error), masked=mask is not None)
        condition = Condition(task.sample.spectrum, mask is not None)
        mark = self._options.generated
        row = task.facts.row(
            condition,
            mask=mask,
            generator=None if mark is None else mark.generator,
            landmarks=_in_crop(found.face, alignment),
        )
        return Crop(row, crop.pixels, found.how)


def _in_crop(face: Face, alignment: str) -> tuple[Point, ...]:
    """The landmarks in the crop's pixels, to a hundredth."""
    matrix = similarity(face.landmarks, ALIGNMENTS[alignment])
    points = np.array(face.landmarks) @ matrix[:, :2].T + matrix[:, 2]
    return tuple((round(float(x), 2), round(float(y), 2)) for x, y in points)
