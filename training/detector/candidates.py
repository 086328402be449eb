"""Detectors to be compared: bundles, and exported files with their facts beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from faces.bundle import Bundle, BundleError, DetectedMask, DetectorSpec, MaskSpec, read
from faces.strict import Strict
from faces.types import Face, Image
from training.data.records import DataSetError
from training.networks.onnx_runner import BundleRunner, DetectorRunner

# For curves, every detection that might be one.
LOWEST = 0.05


class DetectorFacts(Strict):
    """What a manifest says of the detector and of its masks: both parts are put into a bundle as they are."""

    detector: DetectorSpec
    mask: DetectedMask


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """`low` gives every detection, `runner` those of the service; `masks`: a bundle's classifier, None
    where the detector tells masks itself, beyond `mask_threshold`."""

    name: str
    runner: DetectorRunner
    low: DetectorRunner
    masks: BundleRunner | None
    mask_threshold: float

    def masked(self, image: Image, face: Face) -> bool:
        """Whether the face is said to wear a mask."""
        probability = face.masked if self.masks is None else self.masks.masked(image, face)
        return probability is not None and probability >= self.mask_threshold


def open_candidate(path: Path) -> Candidate:
    """A bundle's folder, or an .onnx file with its facts (.json). Raises BundleError, DataSetError."""
    if path.is_dir():
        bundle = read(path)
        manifest = bundle.manifest
        masks = BundleRunner(bundle) if isinstance(manifest.mask, MaskSpec) else None
        file, name = _path(bundle), manifest.name
        return _candidate(name, file, manifest.detector, masks, manifest.mask.threshold)
    try:
        facts = DetectorFacts.model_validate_json(path.with_suffix(".json").read_bytes())
    except (OSError, ValidationError) as error:
        raise DataSetError(f"{path.name} has no readable facts (.json) beside it: export it again") from error
    if not path.is_file():
        raise BundleError(f"{path.name} is not there")
    return _candidate(path.stem, path, facts.detector, None, facts.mask.threshold)


def _path(bundle: Bundle) -> Path:
    return bundle.path(bundle.manifest.detector.file)


def _candidate(
    name: str, file: Path, spec: DetectorSpec, masks: BundleRunner | None, mask_threshold: float
) -> Candidate:
    low = spec.model_copy(update={"score_threshold": LOWEST})
    return Candidate(name, DetectorRunner(file, spec), DetectorRunner(file, low), masks, mask_threshold)
