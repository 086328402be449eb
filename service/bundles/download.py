"""Bring pinned model files into the cache: from a directory if one has them, else by download."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from faces.bundle import file_sha256
from service.bundles.catalogue import ModelFile
from service.settings import CHECKOUT, cache_root

BLOCK_BYTES = 1 << 16
TIMEOUT_S = 60.0
Progress = Callable[[ModelFile, int], None]


class ProvisionError(RuntimeError):
    """A file could not be had from any source. The text says what was tried and what to do."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A file in the cache, and where it came from (`cache` where it was there already)."""

    model: ModelFile
    path: Path
    source: str


def model_cache() -> Path:
    return cache_root() / "models"


def model_directories() -> list[Path]:
    """Directories that are asked before any download, in order."""
    given = os.environ.get("HALFLIGHT_MODEL_DIR")
    beside = CHECKOUT.parent / "shared" / "models"
    return [Path(given), beside] if given else [beside]


def is_whole(path: Path, model: ModelFile) -> bool:
    """Whether a file has the pinned size and digest."""
    if not path.is_file() or path.stat().st_size != model.size:
        return False
    return file_sha256(path) == model.sha256


def verify(models: Iterable[ModelFile], cache: Path) -> dict[str, str]:
    """The state of each file: `ok`, `missing` or `different`."""
    states = {}
    for model in models:
        path = cache / model.file_name
        whole = "ok" if is_whole(path, model) else "different"
        states[model.name] = whole if path.exists() else "missing"
    return states


def pull(
    models: Sequence[ModelFile],
    *,
    cache: Path,
    directories: Sequence[Path] | None = None,
    progress: Progress | None = None,
    client: httpx.Client | None = None,
) -> list[Pulled]:
    """Make every file present and whole. Raises ProvisionError, keeping what it has so far."""
    cache.mkdir(parents=True, exist_ok=True)
    places = model_directories() if directories is None else list(directories)
    return [_pull_one(model, cache, places, progress, client) for model in models]


def _pull_one(
    model: ModelFile,
    cache: Path,
    places: Sequence[Path],
    progress: Progress | None,
    client: httpx.Client | None,
) -> Pulled:
    target = cache / model.file_name
    if is_whole(target, model):
        return Pulled(model, target, "cache")
    tried = []
    for place in places:
        source = place / model.file_name
        if not source.is_file():
            tried.append(f"{place}: no {model.file_name}")
        elif not is_whole(source, model):
            tried.append(f"{source}: another file than the pinned one")
        else:
            _place(source, target)
            return Pulled(model, target, str(place))
    if model.url is not None:
        try:
            _download(model, target, progress, client)
            return Pulled(model, target, model.url)
        except (httpx.HTTPError, OSError, ProvisionError) as error:
            tried.append(f"{model.url}: {error or type(error).__name__}")
    else:
        tried.append(f"no download: {model.origin} is not published as this ONNX file")
    raise ProvisionError(
        f"{model.file_name} cannot be had:\n"
        + "\n".join(f"  {line}" for line in tried)
        + "\nPut the file into a directory and set HALFLIGHT_MODEL_DIR to it"
        + f" (SHA-256 {model.sha256})."
    )


def _place(source: Path, target: Path) -> None:
    """Copy, then rename: the cache never shows a part of a file."""
    partial = target.with_suffix(".partial")
    shutil.copyfile(source, partial)
    _finish(partial, target)


def _download(model: ModelFile, target: Path, progress: Progress | None, client: httpx.Client | None) -> None:
    """Resumes what an earlier attempt left. Raises ProvisionError where the digest differs."""
    assert model.url is not None  # noqa: S101 - the caller asked
    partial = target.with_suffix(".partial")
    have = partial.stat().st_size if partial.exists() else 0
    if have >= model.size:
        partial.unlink()
        have = 0
    # Of a compressed answer a range would count compressed bytes, while the part holds plain ones.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    own = client or httpx.Client(timeout=TIMEOUT_S, follow_redirects=True)
    try:
        with own.stream("GET", model.url, headers=headers) as response:
            response.raise_for_status()
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
            if resumed and progress is not None:
                progress(model, have)
            with partial.open("ab" if resumed else "wb") as out:
                for block in response.iter_bytes(BLOCK_BYTES):
                    out.write(block)
                    if progress is not None:
                        progress(model, len(block))
                    if out.tell() > model.size:
                        break
    finally:
        if client is None:
            own.close()
    if not is_whole(partial, model):
        if partial.stat().st_size >= model.size:
            partial.unlink()
            raise ProvisionError("what came does not have the pinned SHA-256; it was thrown away")
        raise ProvisionError("the download ended early; pull again to go on")
    _finish(partial, target)


def _finish(partial: Path, target: Path) -> None:
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(target)
