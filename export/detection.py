"""Replaces the detector of the base bundle by one that this project trained."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import ValidationError

from export.graph import ExportError
from faces.bundle import Bundle, read, verify, write_manifest
from faces.strict import strip_prefix
from training.detector.candidates import DetectorFacts


def with_detector(base: Bundle, facts: Path, place: Path, *, licence: str) -> Bundle:
    """Writes the base bundle with another detector, which also tells masks, to the new directory `place`.

    `facts`: the .json that describes the detector; its network lies beside it, and its verifier's if it has
    one. Thresholds are left out, because they depend on the detector. Raises ExportError if facts or networks
    cannot be read, BundleError if a network is not the one that the facts name.
    """
    try:
        found = DetectorFacts.model_validate_json(facts.read_bytes())
    except OSError as error:
        raise ExportError(f"{facts.name}: {error.strerror}") from error
    except ValidationError as error:
        raise ExportError(
            f"{facts.name} does not describe a detector: {strip_prefix(error.errors()[0]['msg'])}"
        ) from error
    verifier = found.detector.verifier
    networks = [ref.path for ref in (found.detector.file, None if verifier is None else verifier.file) if ref]
    for path in networks:
        if not (facts.parent / path).is_file():
            raise ExportError(f"{path} does not lie beside {facts.name}")
    encoder = base.manifest.encoder
    place.mkdir()
    liveness = () if base.manifest.liveness is None else (base.manifest.liveness.file.path,)
    for path in dict.fromkeys((encoder.probe.path, encoder.reference.path, *liveness)):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base.root / path, place / path)
    for path in networks:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(facts.parent / path, place / path)
    changed = {
        "detector": found.detector,
        "mask": found.mask,
        "calibration": None,
        "parity": None,
        "licences": {**base.manifest.licences, **dict.fromkeys(networks, licence)},
    }
    write_manifest(base.manifest.model_copy(update=changed), place)
    made = read(place)
    verify(made)
    return made
