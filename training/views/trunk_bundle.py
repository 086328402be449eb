"""A bundle of the open trunk and the built-in detector: what `halflight models build` can start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.align import ALIGNMENTS
from faces.bundle import (
    EncoderSpec,
    Manifest,
    Normalisation,
    ParitySpec,
    file_ref,
    read,
    verify,
    write_manifest,
)
from faces.files import write_array
from faces.place import building
from faces.preprocess import encoder_input, unit_rows
from faces.types import AlignedCrop, Spectrum
from training.networks.onnx_runner import BatchRunner
from training.synthesis.assets import BUILT_IN, SynthesisError

NAME = "trunk-0095"
# Of rendered faces, the parity crops of the built-in bundle, by the file that this project measured with.
EXPECTED = Path(__file__).resolve().parent.parent / "networks" / "convert" / "trunk-vectors.npy"
CROPS, VECTORS = "parity-crops.npy", "parity-vectors.npy"
# Half floats that were rounded otherwise stay above it; another network of the zoo does not.
LEAST_COSINE = 0.999
LICENCE = "Apache-2.0 (Intel Open Model Zoo)"


def trunk_spec(network: Path) -> EncoderSpec:
    """How `face-reidentification-retail-0095` sees a face: the middle of ArcFace's crop, raw values."""
    ref = file_ref(network)
    return EncoderSpec(
        probe=ref,
        reference=ref,
        alignment="arcface-112",
        columns=(8, 104),
        input_px=(128, 128),
        normalisation=Normalisation(order="bgr", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        dimension=256,
        metric="cosine",
    )


def trunk_bundle(network: Path, out: Path, *, base: Path = BUILT_IN) -> float:
    """Writes the bundle, without thresholds, to `out`; returns the lowest cosine with `EXPECTED`.

    Raises SynthesisError if the network is not the one that it should be, BundleError for a damaged base.
    """
    given = read(base)
    verify(given)
    spec, crops = trunk_spec(network), np.load(BUILT_IN / CROPS)
    vectors = _vectors(network, spec, crops)
    lowest = float((vectors * np.load(EXPECTED)).sum(axis=1).min())
    if lowest < LEAST_COSINE:
        raise SynthesisError(f"{network.name}: its vectors of rendered faces are others ({lowest:.4f})")
    with building(out) as place:
        for ref in dict.fromkeys(given.manifest.detection_files):
            (place / ref.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(given.path(ref), place / ref.path)
        shutil.copyfile(network, place / network.name)
        write_array(place / CROPS, crops)
        write_array(place / VECTORS, vectors)
        stored = file_ref(place / VECTORS)
        licences = {ref.path: given.manifest.licences[ref.path] for ref in given.manifest.detection_files}
        rendered = given.manifest.licences[CROPS]
        update = {
            "name": NAME,
            "version": "1",
            "summary": "Open Model Zoo's face-reidentification-retail-0095 with the built-in detector",
            "licences": licences | {network.name: LICENCE, CROPS: rendered, VECTORS: rendered},
            "encoder": spec.model_dump(),
            "calibration": None,
            "parity": ParitySpec(
                crops=file_ref(place / CROPS), probe=stored, reference=stored, minimum_cosine=LEAST_COSINE
            ).model_dump(),
        }
        write_manifest(Manifest.model_validate(given.manifest.model_dump() | update), place)
        verify(read(place))
    return lowest


def _vectors(network: Path, spec: EncoderSpec, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    (left, _), (right, _) = ALIGNMENTS[spec.alignment].points[:2]
    aligned = (AlignedCrop(pixels, spec.alignment, right - left, Spectrum.VIS) for pixels in crops)
    rows = BatchRunner(network).run(np.stack([encoder_input(crop, spec) for crop in aligned]))
    return unit_rows(rows)
