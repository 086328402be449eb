"""Defines the bundle: a directory with `manifest.json` and the network files it names.

It is the only contract between the training side and the service. The manifest states dimension, colour
order and normalisation; no code assumes them.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from faces.calibration import Calibration, written
from faces.cohort import Cohort, load_cohort
from faces.file_ref import FileRef as FileRef
from faces.files import write_whole
from faces.format_one import upgraded
from faces.strict import Strict, strip_prefix
from faces.types import Spectrum

MANIFEST_NAME = "manifest.json"
READ_BLOCK_BYTES = 1 << 20


class BundleError(Exception):
    """A bundle cannot be read, or differs from its manifest. The text names a remedy."""


class Normalisation(Strict):
    """Network value = (pixel - mean) / std for each channel, in the stated channel order."""

    order: Literal["bgr", "rgb"]
    mean: tuple[float, float, float]
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


Finite = Annotated[float, Field(allow_inf_nan=False)]


class ScoreCalibration(Strict):
    """The probability that a detection shows the face which a photo is about, by its score:
    1 / (1 + exp(-(offset + slope * logit(score)))).

    Fitted on the detections that are at least half as large as that face; `data` says on which photos.
    """

    offset: float
    slope: Annotated[float, Field(gt=0)]
    data: str

    def probability(self, score: float) -> float:
        """The probability at a score in [0, 1]; between 0 and 1, and rising with the score."""
        inside = min(max(score, 1e-6), 1.0 - 1e-6)
        exponent = self.offset + self.slope * math.log(inside / (1.0 - inside))
        return 1.0 / (1.0 + math.exp(-min(max(exponent, -50.0), 50.0)))


class LookWindow(Strict):
    """What a second look shows: a square of `times` the longer side of a detection around it, or its mirror
    image, on a canvas of `side_px`; without it, on the detector's smallest."""

    times: Annotated[float, Field(ge=1, le=16)]
    mirrored: bool = False
    side_px: Annotated[int, Field(ge=64, le=1024, multiple_of=32)] | None = None


class SecondLook(Strict):
    """Detections that score from `least` to below `below` are looked at again in each of `windows`, and score
    the mean of all looks, see `faces.second_look`."""

    least: Annotated[float, Field(gt=0, lt=1)]
    below: Annotated[float, Field(gt=0, le=1)]
    windows: Annotated[tuple[LookWindow, ...], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _ordered(self) -> SecondLook:
        if self.least >= self.below:
            raise ValueError("a second look goes from `least` to a larger `below`")
        return self


class VerdictRule(Strict):
    """How a detector's score and a verifier's output make one score, see `faces.verifier`.

    The verifier is asked about detections that score from `least` to below `below`. Their score becomes
    1 / (1 + exp(-(offset + score * logit(score) + verdict * output))), with `alone` added for the one of the
    largest weight in a picture in which nothing scores `below` or more. `data`: what the numbers were
    fitted on.
    """

    least: Annotated[float, Field(gt=0, lt=1)]
    below: Annotated[float, Field(gt=0, le=1)]
    offset: Finite
    score: Annotated[Finite, Field(ge=0)]
    verdict: Annotated[Finite, Field(gt=0)]
    alone: Annotated[Finite, Field(ge=0)] = 0.0
    data: str

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least >= self.below:
            raise ValueError("a verifier is asked from `least` to a larger `below`")
        return self


class VerifierSpec(VerdictRule):
    """A network that tells whether a detection shows a face.

    Input float32 [batch, 3, side, side], the square of `window` around the detection on `input_px` squared;
    output float32 [batch, 1], a logit.
    """

    file: FileRef
    normalisation: Normalisation
    input_px: Annotated[int, Field(ge=16, le=256)]
    window: LookWindow


class DetectorSpec(Strict):
    """A single-shot face detector. Input float32 [batch, 3, height, width], both sides dynamic.

    The image is scaled so that its longer side is at most the last of `canvas_px`, padded at the right and
    the bottom to a square of the smallest of `canvas_px` that holds it. `decoder`: the meaning of
    its outputs, see `faces.detect.decode_yunet` and `decode_centres`. `calibration`: what its scores mean;
    `second_look`: which of them a second look makes surer, `verifier`: which of them another network judges,
    after the second look if there are both; None for none.
    """

    file: FileRef
    decoder: Literal["yunet", "centres"]
    normalisation: Normalisation
    canvas_px: tuple[Annotated[int, Field(ge=64, multiple_of=32)], ...]
    score_threshold: Annotated[float, Field(gt=0, lt=1)]
    nms_iou: Annotated[float, Field(gt=0, lt=1)]
    calibration: ScoreCalibration | None = None
    second_look: SecondLook | None = None
    verifier: VerifierSpec | None = None

    @model_validator(mode="after")
    def _ascending(self) -> DetectorSpec:
        if not self.canvas_px or list(self.canvas_px) != sorted(set(self.canvas_px)):
            raise ValueError("canvas_px must be ascending sizes")
        if self.second_look is not None and self.verifier is not None:
            both = (self.second_look, self.verifier)
            if len({(one.least, one.below) for one in both}) > 1:
                raise ValueError("a second look and a verifier are for the same doubtful scores")
        return self

    @property
    def doubt(self) -> tuple[float, float] | None:
        """The scores, from the first to below the second, that a second look or a verifier is for."""
        one = self.verifier or self.second_look
        return None if one is None else (one.least, one.below)

    def look_px(self, window: LookWindow) -> int:
        """The side of the canvas that shows a window."""
        return window.side_px or self.canvas_px[0]

    @property
    def sides_px(self) -> tuple[int, ...]:
        """The sides of every canvas that the network sees, ascending."""
        windows = () if self.second_look is None else self.second_look.windows
        return tuple(sorted({*self.canvas_px, *(self.look_px(window) for window in windows)}))


Routing = Literal["role", "condition"]


class EncoderSpec(Strict):
    """The embedding network, for probes and for references (the same file where they share one).

    The aligned crop is cut to `columns` (first, last + 1) where given, resized to
    `input_px` (height, width) and normalised. Output float32 [batch, dimension], not yet unit norm.
    `routing`: what a crop's network is chosen by, see `faces.routing`. `output`: the name of the output that
    is the template, if the file has several.
    """

    probe: FileRef
    reference: FileRef
    routing: Routing = "role"
    alignment: str
    columns: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(gt=0)]] | None
    input_px: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
    normalisation: Normalisation
    dimension: Annotated[int, Field(ge=8, le=4096)]
    metric: Literal["cosine"]
    output: str | None = None


Probability = Annotated[float, Field(ge=0, le=1)]


class MaskThresholds(Strict):
    """How a probability of a mask is read: masked from `threshold` on, and `uncertain` between two values
    around it (low, high), set on validation data; without them no probability is uncertain."""

    threshold: Annotated[float, Field(gt=0, lt=1)]
    uncertain: tuple[Probability, Probability] | None = None

    @model_validator(mode="after")
    def _around_the_threshold(self) -> MaskThresholds:
        if self.uncertain is not None and not self.uncertain[0] <= self.threshold <= self.uncertain[1]:
            raise ValueError("the uncertain probabilities lie on both sides of the threshold")
        return self


class DetectedMask(MaskThresholds):
    """The detector classifies masks itself (its decoder gives `Face.masked`), without another network."""

    decoder: Literal["detector"]


class MaskSpec(MaskThresholds):
    """A masked-face classifier on a padded face box.

    The box is grown by `padding` of its size (half on each side), made square, cut out (border
    replicated), resized to `input_px` squared and normalised. Decoder `anchor-max`: output `output`
    float32 [batch, anchors, 2]; the largest value over the anchors of class `masked_class` against
    the other's gives the mask probability.
    """

    file: FileRef
    decoder: Literal["anchor-max"]
    output: str
    masked_class: Literal[0, 1]
    padding: Annotated[float, Field(ge=0, le=3)]
    input_px: Annotated[int, Field(gt=0)]
    normalisation: Normalisation


class AttackError(Strict):
    """The share of presentations of one kind of attack that pass as living (APCER, ISO/IEC 30107-3)."""

    kind: Annotated[str, Field(min_length=3)]
    apcer: Probability
    presentations: Annotated[int, Field(ge=1)]


class LivenessErrors(Strict):
    """The error rates of a liveness network at its threshold, each kind of attack by itself.

    `bpcer`: the share of `bona_fide` presentations of living faces that it denies; `data`: what it was
    measured on, and whether that is synthetic.
    """

    attacks: Annotated[tuple[AttackError, ...], Field(min_length=1)]
    bpcer: Probability
    bona_fide: Annotated[int, Field(ge=1)]
    data: Annotated[str, Field(min_length=10)]


class LivenessSpec(Strict):
    """A network that tells a living face from a photo, a screen or a mask; it may only deny.

    Input float32 [batch, 3, input_px, input_px]: the aligned crop of the encoder, resized, or the `box` of
    the face, grown by `padding` of its size (half on each side), made square and cut out (border
    replicated). Output float32 [batch, 1]: the probability of a living face; below `threshold` it is denied.
    `spectra`: light that it was made for; of faces in other light it says nothing. `errors`: what it was
    measured to do; a network without is refused.
    """

    file: FileRef
    region: Literal["aligned", "box"]
    padding: Annotated[float, Field(ge=0, le=3)] = 0.0
    input_px: Annotated[int, Field(ge=16, le=512)]
    normalisation: Normalisation
    threshold: Annotated[float, Field(gt=0, lt=1)]
    spectra: Annotated[tuple[Spectrum, ...], Field(min_length=1)]
    errors: LivenessErrors


class ParitySpec(Strict):
    """Rendered crops, and the vectors that the bundle's encoders gave for them when it was made.

    `crops`: .npy, uint8 [n, side, side, 3], on the encoder's alignment. `probe` and `reference`:
    .npy, float32 [n, dimension] of unit norm (the same file where the roles share an encoder). If
    a host's vectors have a cosine below `minimum_cosine` with these, it does not run the networks as
    intended.
    """

    crops: FileRef
    probe: FileRef
    reference: FileRef
    minimum_cosine: Annotated[float, Field(gt=0, le=1)]


class Manifest(Strict):
    """Everything that the service needs to know of a bundle. Unknown keys are refused.

    A manifest of format 1 is read as one of format 2, see `faces.format_one`.
    """

    format: Literal[2]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: str
    summary: str
    licences: dict[str, str]
    detector: DetectorSpec
    encoder: EncoderSpec
    mask: Annotated[MaskSpec | DetectedMask, Field(discriminator="decoder")]
    calibration: Calibration | None
    parity: ParitySpec | None = None
    liveness: LivenessSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_any_format(cls, given: Any) -> Any:
        return upgraded(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _mask_is_told(self) -> Manifest:
        if self.mask.decoder == "detector" and self.detector.decoder != "centres":
            raise ValueError("this detector does not tell masks: the bundle needs a classifier")
        return self

    @property
    def space_id(self) -> str:
        """The digest of everything that shapes a vector: encoder files, preprocessing, alignment, metric.

        It excludes thresholds, so a recalibration needs no re-embedding. It also excludes the detector,
        which finds the face but does not shape the vector of an aligned crop, the parity crops, and what
        looks for a living face.
        """
        shaping = self.encoder.model_dump(mode="json")
        for role in ("probe", "reference"):
            shaping[role] = shaping[role]["sha256"]
        # Manifests that lack the key keep their ids.
        if self.encoder.routing == "role":
            del shaping["routing"]
        if self.encoder.output is None:
            del shaping["output"]
        text = json.dumps(shaping, sort_keys=True, separators=(",", ":"))
        return "sp-" + hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def detection_files(self) -> tuple[FileRef, ...]:
        """The files of the detector, and of its verifier, the mask classifier and what looks for a living
        face if there are such."""
        verifier = () if self.detector.verifier is None else (self.detector.verifier.file,)
        mask = (self.mask.file,) if isinstance(self.mask, MaskSpec) else ()
        liveness = () if self.liveness is None else (self.liveness.file,)
        return (self.detector.file, *verifier, *mask, *liveness)

    @property
    def files(self) -> tuple[FileRef, ...]:
        """Every file of the bundle, once."""
        refs = [self.detector.file, self.encoder.probe, self.encoder.reference, *self.detection_files[1:]]
        if self.parity is not None:
            refs += [self.parity.crops, self.parity.probe, self.parity.reference]
        if self.calibration is not None and self.calibration.cohort is not None:
            refs.append(self.calibration.cohort.file)
        return tuple({ref.path: ref for ref in refs}.values())


@dataclass(frozen=True, slots=True)
class Bundle:
    """A manifest and its directory."""

    manifest: Manifest
    root: Path

    def path(self, ref: FileRef) -> Path:
        return self.root / ref.path


def parse_manifest(text: str | bytes) -> Manifest:
    """Parses and checks a manifest. Raises BundleError with the first fault."""
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise BundleError(f"manifest: {where}: {strip_prefix(first['msg'])}") from error


def read(root: Path) -> Bundle:
    """Reads a bundle's manifest, but not its files (see `verify`). Raises BundleError if it cannot."""
    try:
        text = (root / MANIFEST_NAME).read_bytes()
    except OSError as error:
        raise BundleError(f"no bundle at {root}: {error.strerror}") from error
    return Bundle(parse_manifest(text), root)


def open_cohort(bundle: Bundle) -> Cohort | None:
    """Reads the cohort that the bundle's thresholds are for; None where they are for plain cosines.

    Raises BundleError if it cannot be read, or has another dimension than the templates.
    """
    manifest = bundle.manifest
    if manifest.calibration is None or manifest.calibration.cohort is None:
        return None
    spec = manifest.calibration.cohort
    try:
        cohort = load_cohort(bundle.path(spec.file), spec)
    except (OSError, ValueError) as error:
        raise BundleError(f"bundle {manifest.name}: {spec.file.path} is no cohort: {error}") from error
    if cohort.dimension != manifest.encoder.dimension:
        raise BundleError(
            f"bundle {manifest.name}: the cohort has {cohort.dimension} dimensions, and templates have"
            f" {manifest.encoder.dimension}"
        )
    return cohort


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def file_ref(path: Path, *, name: str | None = None) -> FileRef:
    """Measures a file for a manifest; `name` is its path inside the bundle (default: the file name)."""
    size = path.stat().st_size
    return FileRef(path=name or path.name, sha256=file_sha256(path), bytes=size)


def verify(bundle: Bundle) -> None:
    """Checks size and digest of every file. Raises BundleError with the name of a file that differs."""
    for ref in bundle.manifest.files:
        path = bundle.path(ref)
        if not path.is_file():
            raise BundleError(f"bundle {bundle.manifest.name}: {ref.path} is missing")
        if path.stat().st_size != ref.bytes or file_sha256(path) != ref.sha256:
            raise BundleError(f"bundle {bundle.manifest.name}: {ref.path} does not match its digest")


def manifest_text(manifest: Manifest) -> bytes:
    """A manifest as it is written."""
    table = manifest.model_dump(mode="json")
    if manifest.calibration is not None:
        table["calibration"] = written(manifest.calibration)
    return (json.dumps(table, indent=1, sort_keys=False) + "\n").encode()


def write_manifest(manifest: Manifest, root: Path) -> None:
    """Writes `manifest.json` whole: a reader sees the old one or the new one."""
    root.mkdir(parents=True, exist_ok=True)
    write_whole(root / MANIFEST_NAME, manifest_text(manifest))
