"""The reference bundle: pinned files of others, put together by this project's manifest."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from faces.bundle import MANIFEST_NAME, BundleError, Manifest, parse_manifest, read, verify
from service.bundles.download import model_cache
from service.settings import cache_root

RECIPE = Path(__file__).resolve().parent / "reference.json"


def recipe() -> Manifest:
    """The manifest of the reference bundle; its weights are not part of the project."""
    return parse_manifest(RECIPE.read_bytes())


def bundle_path(name: str) -> Path:
    return cache_root() / "bundles" / name


def assemble(*, cache: Path | None = None, target: Path | None = None) -> Path:
    """Make the bundle from the cached files; does nothing where it is whole already.

    Built beside its place and moved there, so that a reader sees all of it or the one before.
    Raises BundleError naming a file that is missing or different.
    """
    cache = cache or model_cache()
    manifest = recipe()
    target = target or bundle_path(manifest.name)
    if _is_current(target, manifest):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        for ref in manifest.files:
            source = cache / ref.path
            if not source.is_file():
                raise BundleError(f"{ref.path} is not in the cache: run `halflight models pull`")
            shutil.copyfile(source, building / ref.path)
        shutil.copyfile(RECIPE, building / MANIFEST_NAME)
        verify(read(building))
        _swap(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


def _is_current(target: Path, manifest: Manifest) -> bool:
    try:
        bundle = read(target)
        verify(bundle)
    except BundleError:
        return False
    return bundle.manifest == manifest


def _swap(building: Path, target: Path) -> None:
    """Two renames: a directory cannot replace one that is not empty in a single step."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    building.rename(target)
    shutil.rmtree(old, ignore_errors=True)
