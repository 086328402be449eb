"""Makes a bundle of any ONNX embedder in ArcFace's conventions, with the built-in bundle's detector.

The conventions: a crop of 112 px on ArcFace's five points, one image as input, one vector for each image.
What the file does not say, the order of the channels and the scale, is a preset that the caller names.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.align import align
from faces.bundle import (
    MANIFEST_NAME,
    Bundle,
    BundleError,
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
from faces.image import DecodeLimits, decode
from faces.place import building
from faces.preprocess import encoder_input, unit_rows
from faces.types import AlignedCrop, Spectrum
from service.inference.engine import Engine, EngineOptions
from service.inference.session import CPU, OnnxSession

ALIGNMENT = "arcface-112"
SIDE_PX = 112
SAMPLES = Path(__file__).resolve().parent.parent / "samples"
SAMPLES_LICENCE = "Apache-2.0; rendered from ICT FaceKit's face model (MIT)"
PEOPLE, PHOTOS = ("s01", "s02", "s03", "s04"), ("vis_1.jpg", "vis_2.jpg")
LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
LEAST_COSINE = 0.9999
NAMES = ("encoder.onnx", "parity-crops.npy", "parity-vectors.npy")


def _scaled(order: str, mean: float, std: float) -> Normalisation:
    return Normalisation.model_validate({"order": order, "mean": [mean] * 3, "std": [std] * 3})


PRESETS: Mapping[str, Normalisation] = {
    "arcface": _scaled("rgb", 127.5, 127.5),
    "arcface-128": _scaled("rgb", 127.5, 128.0),
    "arcface-bgr": _scaled("bgr", 127.5, 127.5),
    "raw-rgb": _scaled("rgb", 0.0, 1.0),
    "raw-bgr": _scaled("bgr", 0.0, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedder:
    """What is known of a file. `preprocessing`: a key of `PRESETS`; `output`: of its outputs, if several."""

    file: Path
    name: str
    preprocessing: str
    licence: str
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """The bundle, and the mean cosines of rendered photos of one subject and of two."""

    bundle: Bundle
    same: float
    other: float


def import_embedder(embedder: Embedder, out: Path, *, base: Path, replace: bool = False) -> Imported:
    """Runs the network on rendered faces and writes a bundle without thresholds to `out`.

    `base`: the bundle whose detector and mask state it gets. Raises BundleError, which says what the file
    lacks; `out` is then as it was.
    """
    if out.exists() and not replace:
        raise BundleError(f"{out.name} is there already: choose another --out, or --replace it")
    if out.exists() and not (out / MANIFEST_NAME).is_file():
        raise BundleError(f"{out.name} is no bundle: it is left alone")
    given = read(base)
    verify(given)
    if any(ref.path in NAMES for ref in given.manifest.detection_files):
        raise BundleError(f"bundle {given.manifest.name}: a file of its detector has an encoder's name")
    session = _open(embedder)
    crops = rendered_crops(given)
    vectors = _vectors(session, embedder, crops)
    with building(out) as place:
        _fill(place, embedder, given, crops, vectors)
        verify(read(place))
    scores = vectors @ vectors.T
    owner = np.repeat(np.arange(len(PEOPLE)), len(PHOTOS))
    mated = owner[:, None] == owner[None, :]
    photos = ~np.eye(len(owner), dtype=bool)
    return Imported(read(out), float(scores[mated & photos].mean()), float(scores[~mated].mean()))


def rendered_crops(base: Bundle) -> list[AlignedCrop]:
    """Two photos of each of four rendered subjects. Raises BundleError if the detector finds no face."""
    options = EngineOptions(
        providers=(CPU,), allow_fallback=False, intra_op_threads=0, max_batch=8, max_queue=8
    )
    detector = Engine.load(base, options).detector
    crops = []
    for person in PEOPLE:
        for photo in PHOTOS:
            image = decode((SAMPLES / person / photo).read_bytes(), limits=LIMITS, spectrum=Spectrum.VIS)
            faces = detector.run([detector.prepare(image)])[0].faces
            if not faces:
                raise BundleError(f"bundle {base.manifest.name}: no face is found in the rendered samples")
            crops.append(align(image, faces[0], ALIGNMENT))
    return crops


def _open(embedder: Embedder) -> OnnxSession:
    if embedder.preprocessing not in PRESETS:
        raise BundleError(f"no preprocessing {embedder.preprocessing}: there are {', '.join(PRESETS)}")
    if not embedder.file.is_file():
        raise BundleError(f"there is no file {embedder.file.name}")
    try:
        session = OnnxSession(embedder.file, providers=(CPU,))
    # ONNX Runtime raises many types of errors, and their texts contain paths of the machine.
    except Exception as error:
        raise BundleError(f"{embedder.file.name} is no ONNX network ({type(error).__name__})") from error
    name, inputs = embedder.file.name, session.inputs
    if len(inputs) != 1:
        raise BundleError(f"{name} has {len(inputs)} inputs: an embedder takes one image")
    if len(inputs[0]) != 4 or any(
        size not in (None, wanted) for size, wanted in zip(inputs[0][1:], (3, SIDE_PX, SIDE_PX), strict=True)
    ):
        shape = " x ".join("any" if size is None else str(size) for size in inputs[0])
        raise BundleError(f"{name} takes {shape}, ArcFace's crop is batch x 3 x {SIDE_PX} x {SIDE_PX}")
    if embedder.output is None and len(session.outputs) > 1:
        raise BundleError(
            f"{name} has several outputs: name one with --output ({', '.join(session.outputs)})"
        )
    if embedder.output is not None and embedder.output not in session.outputs:
        raise BundleError(f"{name} has no output {embedder.output}: there are {', '.join(session.outputs)}")
    return session


def _vectors(session: OnnxSession, embedder: Embedder, crops: list[AlignedCrop]) -> NDArray[np.float32]:
    """Unit vectors [n, d] of one real forward pass. Raises BundleError if they are no templates."""
    spec = _spec(embedder, dimension=8)
    tensors = np.stack([encoder_input(crop, spec) for crop in crops])
    name = embedder.file.name
    output = embedder.output or session.outputs[0]
    try:
        rows = session.run(tensors)[output]
        alone = session.run(tensors[:1])[output]
    except Exception as error:
        raise BundleError(f"{name} does not run on {len(crops)} images ({type(error).__name__})") from error
    if rows.ndim != 2 or len(rows) != len(crops) or not 8 <= rows.shape[1] <= 4096:
        raise BundleError(
            f"{name}: {output} is {rows.shape} for {len(crops)} images, not one vector for each"
        )
    try:
        vectors = unit_rows(np.asarray(rows, np.float32))
        single = unit_rows(np.asarray(alone, np.float32))
    except ValueError as error:
        raise BundleError(f"{name}: {error}") from error
    if float(single[0] @ vectors[0]) < LEAST_COSINE:
        raise BundleError(f"{name} gives another vector for an image that is alone: it mixes its batch")
    scores = vectors @ vectors.T
    if float(scores.min()) > LEAST_COSINE:
        raise BundleError(f"{name} gives every face the same vector: is --preprocessing right?")
    return vectors


def _spec(embedder: Embedder, *, dimension: int) -> EncoderSpec:
    ref = file_ref(embedder.file, name=NAMES[0])
    return EncoderSpec(
        probe=ref,
        reference=ref,
        alignment=ALIGNMENT,
        columns=None,
        input_px=(SIDE_PX, SIDE_PX),
        normalisation=PRESETS[embedder.preprocessing],
        dimension=dimension,
        metric="cosine",
        output=embedder.output,
    )


def _fill(
    place: Path,
    embedder: Embedder,
    base: Bundle,
    crops: list[AlignedCrop],
    vectors: NDArray[np.float32],
) -> None:
    encoder_name, crops_name, vectors_name = NAMES
    shutil.copyfile(embedder.file, place / encoder_name)
    write_array(place / crops_name, np.stack([crop.pixels for crop in crops]))
    write_array(place / vectors_name, vectors)
    licences = {encoder_name: embedder.licence}
    for ref in dict.fromkeys(base.manifest.detection_files):
        (place / ref.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(base.path(ref), place / ref.path)
        licences[ref.path] = base.manifest.licences.get(ref.path, "not stated by the base bundle")
    stored = file_ref(place / vectors_name)
    licences |= dict.fromkeys((crops_name, vectors_name), SAMPLES_LICENCE)
    update = {
        "name": embedder.name,
        "version": "1",
        "summary": f"{embedder.file.name}, imported with the preprocessing {embedder.preprocessing}",
        "licences": licences,
        "encoder": _spec(embedder, dimension=vectors.shape[1]).model_dump(),
        "calibration": None,
        "parity": ParitySpec(
            crops=file_ref(place / crops_name), probe=stored, reference=stored, minimum_cosine=LEAST_COSINE
        ).model_dump(),
    }
    write_manifest(Manifest.model_validate(base.manifest.model_dump() | update), place)
