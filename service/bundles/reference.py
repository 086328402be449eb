"""Assembles the reference bundle from pinned third-party files and this project's manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

from faces.bundle import MANIFEST_NAME, BundleError, Manifest, parse_manifest, read, verify
from faces.place import building
from service.bundles.download import model_cache
from service.settings import cache_root

MANIFEST_FILE = Path(__file__).resolve().parent / "reference.json"


def reference_manifest() -> Manifest:
    """Reads the manifest of the reference bundle; its weights are not part of the project."""
    return parse_manifest(MANIFEST_FILE.read_bytes())


def bundle_path(name: str) -> Path:
    return cache_root() / "bundles" / name


def assemble(*, cache: Path | None = None, target: Path | None = None) -> Path:
    """Builds the bundle from the cached files; does nothing if it is complete already.

    Builds it beside `target` and renames it, so that a reader sees the old bundle or the whole new one.
    Raises BundleError, which names the file, if a file is missing or differs.
    """
    cache = cache or model_cache()
    manifest = reference_manifest()
    target = target or bundle_path(manifest.name)
    if _is_current(target, manifest):
        return target
    with building(target) as place:
        for ref in manifest.files:
            source = cache / ref.path
            if not source.is_file():
                raise BundleError(f"{ref.path} is not in the cache: run `halflight models pull`")
            shutil.copyfile(source, place / ref.path)
        shutil.copyfile(MANIFEST_FILE, place / MANIFEST_NAME)
        verify(read(place))
    return target


def _is_current(target: Path, manifest: Manifest) -> bool:
    try:
        bundle = read(target)
        verify(bundle)
    except BundleError:
        return False
    return bundle.manifest == manifest
