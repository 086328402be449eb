"""Tests `halflight bundle` on real bundles and real keys."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from faces.bundle import BundleError, Manifest, read, verify
from service.bundles.registry import BundleStore, manifest_digest
from service.bundles.signing import SigningKeyError, verify_signature
from service.cli.main import main
from tests.service.cli.command import CommandResult
from tests.service.cli.command import succeeds as in_a_process
from tests.service.spaces.support import variant


@pytest.fixture
def wide(tmp_path: Path, bundle_dir: Path) -> Path:
    variant(bundle_dir, tmp_path / "wide")
    return tmp_path / "wide"


class Commands:
    """Runs the command line in this process: a child takes a second to import the libraries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, *arguments: str | Path) -> CommandResult:
        self._monkeypatch.setattr("sys.argv", ["halflight", *map(str, arguments)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return CommandResult(int(ended.value.code or 0), out, err)

    def succeeds(self, *arguments: str | Path) -> CommandResult:
        result = self.run(*arguments)
        assert result.code == 0, result.err
        return result

    def fails(self, *arguments: str | Path, expected: Sequence[str]) -> CommandResult:
        result = self.run(*arguments)
        assert result.code == 1, result.err
        for words in expected:
            assert words in result.err
        return result


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capsys)


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Private and public PEM file."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_inspect_prints_the_manifest(cli: Commands, wide: Path, bundle_dir: Path) -> None:
    manifest = read(wide).manifest
    text = in_a_process("bundle", "inspect", wide).out
    for expected in (
        manifest.space_id,
        "256 dimensions",
        manifest_digest(read(wide)),
        manifest.encoder.probe.sha256,
    ):
        assert expected in text
    assert "nir-masked" in text
    one, other = cli.succeeds("bundle", "inspect", wide, bundle_dir, "--json").lines()
    assert Manifest.model_validate(one["manifest"]) == manifest
    assert one["space_id"] == manifest.space_id
    assert other["space_id"] == read(bundle_dir).manifest.space_id
    cli.fails("bundle", "inspect", wide / "nowhere", expected=["no bundle"])


def test_verify_detects_one_changed_byte(cli: Commands, wide: Path) -> None:
    assert "3 files match" in cli.succeeds("bundle", "verify", wide).err
    network = wide / read(wide).manifest.detection_files[-1].path
    data = bytearray(network.read_bytes())
    data[len(data) // 2] ^= 1
    network.write_bytes(data)
    cli.fails("bundle", "verify", wide, expected=[network.name, "digest"])
    network.unlink()
    cli.fails("bundle", "verify", wide, expected=[network.name, "missing"])


def test_diff_reports_whether_two_bundles_share_a_space(
    cli: Commands, tmp_path: Path, bundle_dir: Path, wide: Path
) -> None:
    assert "one space" in cli.succeeds("bundle", "diff", wide, wide).err
    moved = cli.fails("bundle", "diff", bundle_dir, wide, expected=["two spaces"])
    assert "encoder.columns" in moved.out
    variant(bundle_dir, tmp_path / "same", columns=(8, 104), name="same")
    expected = ["one space", "no backfill"]
    recalibrated = cli.fails("bundle", "diff", bundle_dir, tmp_path / "same", expected=expected)
    assert "threshold" in recalibrated.out
    assert "encoder" not in recalibrated.out
    (row,) = cli.fails("bundle", "diff", bundle_dir, wide, "--json", expected=[]).lines()
    assert row["one_space"] is False
    assert {"what": "name", "one": "reference", "other": "wide"} in row["differences"]


def test_a_signature_is_valid_only_for_its_key_and_its_manifest(
    cli: Commands, tmp_path: Path, wide: Path
) -> None:
    private, public = key_pair(tmp_path, "ours")
    _, other_public = key_pair(tmp_path, "theirs")
    cli.fails("bundle", "verify", wide, "--key", public, expected=["not signed"])
    cli.succeeds("bundle", "sign", wide, "--key", private)
    assert "signature" in cli.succeeds("bundle", "verify", wide, "--key", public).err
    with pytest.raises(BundleError, match="does not match its signature"):
        verify_signature(read(wide), other_public)
    with pytest.raises(SigningKeyError):
        verify_signature(read(wide), private)
    signature = wide / "manifest.sig"
    whole = signature.read_text()
    signature.write_text(base64.b64encode(b"x" * 64).decode())
    with pytest.raises(BundleError, match="does not match"):
        verify_signature(read(wide), public)
    signature.write_text("no base64 !")
    with pytest.raises(BundleError, match="cannot be read"):
        verify_signature(read(wide), public)
    signature.write_text(whole)
    (wide / "manifest.json").write_text((wide / "manifest.json").read_text().replace('"wide"', '"wider"'))
    cli.fails("bundle", "verify", wide, "--key", public, expected=["does not match its signature"])
    cli.fails("bundle", "sign", wide, "--key", public, expected=["private key"])


def test_the_registry_stores_intact_bundles_by_digest(tmp_path: Path, wide: Path) -> None:
    store = BundleStore(tmp_path / "registry")
    (wide / "MODEL_CARD.md").write_text("what it is")
    digest = store.install(read(wide))
    assert store.install(read(wide)) == digest
    kept = store.find_by_digest(digest)
    verify(kept)
    assert kept.manifest == read(wide).manifest
    assert (kept.root / "MODEL_CARD.md").read_text() == "what it is"
    assert [path.name for path in (tmp_path / "registry" / "sha256").iterdir()] == [digest]
    (kept.root / kept.manifest.detection_files[-1].path).write_bytes(b"changed")
    with pytest.raises(BundleError, match="digest"):
        store.find_by_digest(digest)
    # An unfinished removal or a disk fault leaves a broken copy: an intact one replaces it.
    assert store.install(read(wide)) == digest
    verify(store.find_by_digest(digest))
    (kept.root / "manifest.json").unlink()
    assert store.install(read(wide)) == digest
    verify(store.find_by_digest(digest))
    store.remove(digest)
    store.remove(digest)
    with pytest.raises(BundleError, match="holds no bundle"):
        store.find_by_digest(digest)
    (wide / read(wide).manifest.detection_files[-1].path).write_bytes(b"changed")
    with pytest.raises(BundleError, match="digest"):
        store.install(read(wide))
    assert list((tmp_path / "registry" / "sha256").iterdir()) == []
    for name in ("sha256", "..", "a/b", ""):
        with pytest.raises(BundleError):
            store.find_by_name(name)
