"""Brings pinned model files into the cache: from a local directory if one has them, else by download."""

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
    """No source has the file. The text lists what was tried and what to do."""


@dataclass(frozen=True, slots=True)
class PulledFile:
    """A file in the cache and its source: a directory, a URL, or `cache` if it was there already."""

    model: ModelFile
    path: Path
    source: str


def model_cache() -> Path:
    return cache_root() / "models"


def model_directories() -> list[Path]:
    """Directories that are searched before any download, in order."""
    given = os.environ.get("HALFLIGHT_MODEL_DIR")
    beside = CHECKOUT.parent / "shared" / "models"
    return [Path(given), beside] if given else [beside]


def matches_pin(path: Path, model: ModelFile) -> bool:
    """Returns whether the file has the pinned size and digest."""
    if not path.is_file() or path.stat().st_size != model.size:
        return False
    return file_sha256(path) == model.sha256


def cache_states(models: Iterable[ModelFile], cache: Path) -> dict[str, str]:
    """Maps the name of each file to its state in the cache: `ok`, `missing` or `different`."""
    states = {}
    for model in models:
        path = cache / model.file_name
        state = "ok" if matches_pin(path, model) else "different"
        states[model.name] = state if path.exists() else "missing"
    return states


def pull(
    models: Sequence[ModelFile],
    *,
    cache: Path,
    directories: Sequence[Path] | None = None,
    progress: Progress | None = None,
    client: httpx.Client | None = None,
) -> list[PulledFile]:
    """Brings every file into the cache and checks its digest.

    Raises ProvisionError if no source has a file; the files fetched before it stay in the cache.
    """
    cache.mkdir(parents=True, exist_ok=True)
    searched = model_directories() if directories is None else list(directories)
    return [_pull_one(model, cache, searched, progress, client) for model in models]


def _pull_one(
    model: ModelFile,
    cache: Path,
    directories: Sequence[Path],
    progress: Progress | None,
    client: httpx.Client | None,
) -> PulledFile:
    target = cache / model.file_name
    if matches_pin(target, model):
        return PulledFile(model, target, "cache")
    tried = []
    for directory in directories:
        source = directory / model.file_name
        if not source.is_file():
            tried.append(f"{directory}: no {model.file_name}")
        elif not matches_pin(source, model):
            tried.append(f"{source}: another file than the pinned one")
        else:
            _copy_into_cache(source, target)
            return PulledFile(model, target, str(directory))
    if model.url is not None:
        try:
            _download(model, target, progress, client)
            return PulledFile(model, target, model.url)
        except (httpx.HTTPError, OSError, ProvisionError) as error:
            tried.append(f"{model.url}: {error or type(error).__name__}")
    else:
        tried.append(f"no download: {model.origin} is not published as this ONNX file")
        tried += [model.remedy] if model.remedy else []
    raise ProvisionError(
        f"{model.file_name} cannot be had:\n"
        + "\n".join(f"  {line}" for line in tried)
        + "\nPut the file into a directory and set HALFLIGHT_MODEL_DIR to it"
        + f" (SHA-256 {model.sha256})."
    )


def _copy_into_cache(source: Path, target: Path) -> None:
    """Copies, then renames, so that the cache never holds part of a file."""
    partial = target.with_suffix(".partial")
    shutil.copyfile(source, partial)
    _move_into_place(partial, target)


def _download(model: ModelFile, target: Path, progress: Progress | None, client: httpx.Client | None) -> None:
    """Resumes what an earlier attempt left. Raises ProvisionError if the digest differs."""
    assert model.url is not None  # noqa: S101 - checked by the caller
    partial = target.with_suffix(".partial")
    have = partial.stat().st_size if partial.exists() else 0
    if have >= model.size:
        partial.unlink()
        have = 0
    # A range of a compressed response counts compressed bytes; the partial file holds plain ones.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    http = client or httpx.Client(timeout=TIMEOUT_S, follow_redirects=True)
    try:
        with http.stream("GET", model.url, headers=headers) as response:
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
            http.close()
    if not matches_pin(partial, model):
        if partial.stat().st_size >= model.size:
            partial.unlink()
            raise ProvisionError("what came does not have the pinned SHA-256; it was thrown away")
        raise ProvisionError("the download ended early; pull again to go on")
    _move_into_place(partial, target)


def _move_into_place(partial: Path, target: Path) -> None:
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(target)
