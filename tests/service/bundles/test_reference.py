"""Tests that the reference bundle is assembled from pinned files, completely or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from faces.bundle import MANIFEST_NAME, BundleError, read, verify
from service.bundles.catalogue import CATALOGUE, ModelFile, find_model
from service.bundles.reference import assemble, reference_manifest
from tests.service.bundles.origin import pin


@pytest.fixture
def cache(bundle_dir: Path, tmp_path: Path) -> Path:
    """A cache with every file of the manifest."""
    place = tmp_path / "cache"
    place.mkdir()
    for ref in reference_manifest().files:
        shutil.copyfile(bundle_dir / ref.path, place / ref.path)
    return place


@pytest.fixture
def target(cache: Path) -> Path:
    return assemble(cache=cache, target=cache.parent / "bundles" / "reference")


def stamps(root: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted(root.iterdir())}


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_every_file_of_the_manifest_is_pinned_in_the_catalogue_with_its_digest() -> None:
    pinned = {model.file_name: (model.sha256, model.size, model.licence) for model in CATALOGUE}
    manifest = reference_manifest()
    assert len(manifest.files) == 3
    for ref in manifest.files:
        assert pinned[ref.path] == (ref.sha256, ref.bytes, manifest.licences[ref.path])
    assert set(manifest.licences) == {ref.path for ref in manifest.files}


def test_every_file_of_the_catalogue_may_be_redistributed_and_is_listed_once() -> None:
    assert {model.licence for model in CATALOGUE} <= {"Apache-2.0", "MIT", "BSD-3-Clause"}
    assert len({model.name for model in CATALOGUE}) == len({m.file_name for m in CATALOGUE}) == len(CATALOGUE)
    for model in CATALOGUE:
        assert find_model(model.name) is find_model(model.file_name) is model
        assert model.url is None or model.url.startswith("https://")


def test_an_unknown_model_is_refused_with_the_known_names() -> None:
    with pytest.raises(KeyError) as refused:
        find_model("nothing")
    assert all(model.name in str(refused.value) for model in CATALOGUE)


@pytest.mark.parametrize(("sha256", "size"), [("abc", 5), ("a" * 64, 0)])
def test_an_incomplete_pin_is_refused(sha256: str, size: int) -> None:
    whole = pin()
    with pytest.raises(ValueError, match="incomplete"):
        ModelFile(
            name="x",
            file_name="x.onnx",
            sha256=sha256,
            size=size,
            licence=whole.licence,
            what=whole.what,
            origin=whole.origin,
            url=None,
        )


def test_the_bundle_holds_only_the_manifest_and_its_files(target: Path) -> None:
    bundle = read(target)
    verify(bundle)
    assert bundle.manifest == reference_manifest()
    names = {path.name for path in target.iterdir()}
    assert names == {MANIFEST_NAME} | {ref.path for ref in reference_manifest().files}
    assert [path.name for path in target.parent.iterdir()] == ["reference"]


def test_an_intact_bundle_is_left_alone_even_without_a_cache(cache: Path, target: Path) -> None:
    before = stamps(target)
    shutil.rmtree(cache)
    assert assemble(cache=cache, target=target) == target
    assert stamps(target) == before


@pytest.mark.parametrize("how", ["flip", "remove", "cut manifest", "old manifest", "empty"])
def test_a_damaged_bundle_is_rebuilt(cache: Path, target: Path, how: str) -> None:
    network, manifest = target / reference_manifest().files[0].path, target / MANIFEST_NAME
    if how == "flip":
        damage(network)
    elif how == "remove":
        network.unlink()
    elif how == "cut manifest":
        manifest.write_bytes(manifest.read_bytes()[:100])
    elif how == "old manifest":
        manifest.write_text(manifest.read_text().replace('"version": "1"', '"version": "0"'))
        assert read(target).manifest.version == "0"
    else:
        shutil.rmtree(target)
        target.mkdir()
    assemble(cache=cache, target=target)
    verify(read(target))
    assert read(target).manifest == reference_manifest()
    assert [path.name for path in target.parent.iterdir()] == ["reference"]


def test_a_cache_that_lacks_a_file_is_refused_with_its_name(cache: Path) -> None:
    gone = reference_manifest().files[-1].path
    (cache / gone).unlink()
    place = cache.parent / "bundles" / "reference"
    with pytest.raises(BundleError, match="halflight models pull") as refused:
        assemble(cache=cache, target=place)
    assert gone in str(refused.value)
    assert list(place.parent.iterdir()) == []


def test_a_damaged_cache_does_not_replace_an_existing_bundle(cache: Path, target: Path) -> None:
    spoilt = reference_manifest().files[1].path
    (target / reference_manifest().files[0].path).unlink()
    damage(cache / spoilt)
    before = stamps(target)
    with pytest.raises(BundleError, match="does not match its digest") as refused:
        assemble(cache=cache, target=target)
    assert spoilt in str(refused.value)
    assert stamps(target) == before
    assert [path.name for path in target.parent.iterdir()] == ["reference"]
