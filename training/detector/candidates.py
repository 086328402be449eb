"""Opens detectors to compare: bundles, and exported files with a file of facts beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from faces.bundle import Bundle, BundleError, DetectedMask, DetectorSpec, MaskSpec, read
from faces.strict import Strict
from faces.types import Face, Image
from training.data.records import DataSetError
from training.networks.onnx_runner import BundleRunner, DetectorRunner

# Curves need detections of low scores too.
LOWEST = 0.05


class DetectorFacts(Strict):
    """The parts of a manifest that describe the detector and its masks; a bundle takes both unchanged."""

    detector: DetectorSpec
    mask: DetectedMask


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """`runner` has the threshold of the service, `low` the threshold LOWEST. `masks` is the bundle's mask
    classifier, or None if the detector classifies masks itself, with `mask_threshold`."""

    name: str
    runner: DetectorRunner
    low: DetectorRunner
    masks: BundleRunner | None
    mask_threshold: float

    def masked(self, image: Image, face: Face) -> bool:
        """Tells whether the candidate classifies the face as masked."""
        probability = face.masked if self.masks is None else self.masks.masked(image, face)
        return probability is not None and probability >= self.mask_threshold


def open_candidate(path: Path) -> Candidate:
    """Opens a bundle's folder, or an .onnx file with its facts (.json).

    Raises BundleError if the bundle or the network file is missing, DataSetError if the facts are.
    """
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
