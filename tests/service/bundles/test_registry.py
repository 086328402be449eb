"""Replicas that start together bring the same bundle into one directory; nobody misses it from then on."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from faces.bundle import BundleError, read
from service.bundles.registry import DIGEST_DIR, BundleStore, manifest_digest
from service.settings import builtin_bundle

REPLICAS, ROUNDS = 4, 6


def installed_and_found(roots: list[Path]) -> int:
    """Installs the built-in bundle into each directory; returns how often it was missing afterwards."""
    missing = 0
    for root in roots:
        store = BundleStore(root)
        digest = store.install(read(builtin_bundle()))
        for _ in range(5):
            try:
                store.find_by_digest(digest)
            except BundleError:
                missing += 1
    return missing


def test_replicas_that_start_together_share_a_directory(tmp_path: Path) -> None:
    roots = [tmp_path / str(number) for number in range(ROUNDS)]
    with ProcessPoolExecutor(REPLICAS, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(installed_and_found, [roots] * REPLICAS)) == [0] * REPLICAS
    digest = manifest_digest(read(builtin_bundle()))
    for root in roots:
        assert {each.name for each in (root / DIGEST_DIR).iterdir()} == {digest}
        assert BundleStore(root).find_by_digest(digest).manifest == read(builtin_bundle()).manifest


def test_a_broken_copy_is_replaced(tmp_path: Path) -> None:
    store, bundle = BundleStore(tmp_path), read(builtin_bundle())
    digest = store.install(bundle)
    (tmp_path / DIGEST_DIR / digest / bundle.manifest.detector.file.path).write_bytes(b"broken")
    assert store.install(bundle) == digest
    store.find_by_digest(digest)
