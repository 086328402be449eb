"""Finds pinned public files in a directory, or downloads them, checked by digest; first the face mesh's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import httpx

from faces.bundle import file_sha256

CHECKOUT = Path(__file__).resolve().parent.parent.parent
# The bundle that comes with the project: whatever needs a detector alone uses its.
BUILT_IN = CHECKOUT / "models" / "halflight-2"
TIMEOUT_S = 60.0


class SynthesisError(RuntimeError):
    """A file that synthesis needs is missing or differs from the pinned one.

    The text names the file and a remedy.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A file pinned by its digest. `url` is None if it is not published in this form.

    `remedy`: what makes the file, if something does.
    """

    file_name: str
    sha256: str
    size: int
    licence: str
    origin: str
    url: str | None
    remedy: str | None = None


MESH_NETWORK = Pin(
    file_name="facemesh_468_192.onnx",
    sha256="3d4e5a5f4e1bbcdae410900d49e56871ab17a66d0992fdf23759cb4160813950",
    size=2429661,
    licence="Apache-2.0",
    origin="google-ai-edge/mediapipe at 33d683c6, face_landmark.tflite converted to ONNX",
    url=None,
    remedy="`python -m training tools` makes it of the public wheel of mediapipe 0.10.21",
)
CANONICAL_FACE = Pin(
    file_name="canonical_face_model.obj",
    sha256="8bac80443397e113f41a8b565ea72c59390bc031d9defab289dba7bc0c54e618",
    size=45999,
    licence="Apache-2.0",
    origin="google-ai-edge/mediapipe at 33d683c6, modules/face_geometry/data",
    url="https://raw.githubusercontent.com/google-ai-edge/mediapipe/33d683c6"
    "/mediapipe/modules/face_geometry/data/canonical_face_model.obj",
)


@dataclass(frozen=True, slots=True)
class MeshAssets:
    """`network`: the 468-point ONNX file; `canonical`: the face model's OBJ file."""

    network: Path
    canonical: Path


def cache_directory() -> Path:
    """Returns `models` below `HALFLIGHT_CACHE`, the checkout's `.halflight`, or the home cache."""
    if given := os.environ.get("HALFLIGHT_CACHE"):
        return Path(given) / "models"
    if (CHECKOUT / "pyproject.toml").is_file():
        return CHECKOUT / ".halflight" / "models"
    return Path.home() / ".cache" / "halflight" / "models"


def search_path(directory: Path | None) -> list[Path]:
    """Returns the directories to search before any download, in order."""
    given = os.environ.get("HALFLIGHT_MODEL_DIR")
    places = [directory, Path(given) if given else None, CHECKOUT.parent / "shared" / "models"]
    return [place for place in [*places, cache_directory()] if place is not None]


def find_assets(directory: Path | None = None, *, client: httpx.Client | None = None) -> MeshAssets:
    """Finds both files: in `directory`, `HALFLIGHT_MODEL_DIR`, beside the checkout, in the cache, by
    download.

    Raises SynthesisError with what was tried.
    """
    return MeshAssets(
        network=find_file(MESH_NETWORK, directory, client=client),
        canonical=find_file(CANONICAL_FACE, directory, client=client),
    )


def find_file(pin: Pin, directory: Path | None = None, *, client: httpx.Client | None = None) -> Path:
    """Finds one pinned file and checks its digest. Raises SynthesisError with what was tried."""
    tried = []
    for place in search_path(directory):
        path = place / pin.file_name
        if not path.is_file():
            tried.append(f"{place}: not there")
        elif not _is_whole(path, pin):
            tried.append(f"{path}: another file than the pinned one")
        else:
            return path
    if pin.url is None:
        tried.append(f"no download: {pin.origin}, is not published in this form")
        tried += [pin.remedy] if pin.remedy else []
    else:
        try:
            return _download(pin, pin.url, client)
        except (httpx.HTTPError, OSError, SynthesisError) as error:
            tried.append(f"{pin.url}: {error or type(error).__name__}")
    raise SynthesisError(
        f"{pin.file_name} cannot be had:\n"
        + "\n".join(f"  {line}" for line in tried)
        + "\nPut the file into a directory and set HALFLIGHT_MODEL_DIR to it"
        + f" (SHA-256 {pin.sha256}, {pin.licence})."
    )


def _is_whole(path: Path, pin: Pin) -> bool:
    return path.stat().st_size == pin.size and file_sha256(path) == pin.sha256


def _download(pin: Pin, url: str, client: httpx.Client | None) -> Path:
    """Downloads into the cache, by rename, and goes on with what an earlier attempt left."""
    target = cache_directory() / pin.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    have = partial.stat().st_size if partial.is_file() else 0
    if have >= pin.size:
        partial.unlink()
        have = 0
    # A range of a compressed response counts compressed bytes; the partial file holds plain ones.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    own = client or httpx.Client(timeout=TIMEOUT_S, follow_redirects=True)
    try:
        with own.stream("GET", url, headers=headers) as answer:
            answer.raise_for_status()
            goes_on = answer.status_code == httpx.codes.PARTIAL_CONTENT
            with partial.open("ab" if goes_on else "wb") as stream:
                for block in answer.iter_bytes():
                    stream.write(block)
                    if stream.tell() > pin.size:
                        break
                stream.flush()
                os.fsync(stream.fileno())
    finally:
        if client is None:
            own.close()
    if partial.stat().st_size < pin.size:
        raise SynthesisError("the download ended early; the same command goes on")
    if not _is_whole(partial, pin):
        partial.unlink()
        raise SynthesisError("what came does not have the pinned SHA-256; it was thrown away")
    partial.replace(target)
    return target
