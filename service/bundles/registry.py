"""Keeps the registry directory: registered bundles by digest, and those that wait to be registered.

    <root>/NAME/             put there by an operator or by a training job, registered by name
    <root>/sha256/DIGEST/    registered; DIGEST is the SHA-256 of its manifest, which holds every file's

    <root>/.fetched/         fetched from the bundle origin and not yet verified

Nothing changes a bundle below its digest. If a bundle origin is configured (`bundle_url`), the store
fetches from there what the directory lacks.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from pathlib import Path

from faces.bundle import MANIFEST_NAME, Bundle, BundleError, file_sha256, read, verify
from faces.files import held
from service.bundles.origin import BundleOrigin
from service.settings import Settings

FETCH_DIR = ".fetched"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
DIGEST_DIR, LOCK = "sha256", ".lock"


def manifest_digest(bundle: Bundle) -> str:
    """Computes the SHA-256 of the manifest file, which holds the digest of every other file.

    Raises BundleError if the manifest cannot be read.
    """
    try:
        return file_sha256(bundle.root / MANIFEST_NAME)
    except OSError as error:
        raise BundleError(f"bundle {bundle.manifest.name}: the manifest cannot be read") from error


class BundleStore:
    """Reads and writes the registry directory. Every method blocks."""

    def __init__(self, root: Path, origin: BundleOrigin | None = None, *, publish: bool = False) -> None:
        """`publish`: also write registered bundles to the origin, for other replicas."""
        self._root, self._origin, self._publish = root, origin, publish

    def find_by_name(self, name: str) -> Bundle:
        """Finds an unverified bundle in the directory, else fetches it from the origin.

        The caller passes it to `discard` at the end. Raises BundleError, whose text holds no path.
        """
        if not NAME.fullmatch(name) or name == DIGEST_DIR:
            raise BundleError("a bundle's name has 1 to 64 characters of a-z 0-9 . _ -")
        if (self._root / name / MANIFEST_NAME).is_file():
            return read(self._root / name)
        if self._origin is None:
            raise BundleError(f"the registry directory holds no bundle {name}")
        return self._fetch(self._origin, name)

    def discard(self, bundle: Bundle) -> None:
        """Removes a bundle that `find_by_name` fetched; leaves the directory's own bundles alone."""
        if bundle.root.parent == self._root / FETCH_DIR:
            shutil.rmtree(bundle.root, ignore_errors=True)

    def install(self, bundle: Bundle) -> str:
        """Verifies the bundle, copies it below its digest and returns the digest.

        Does nothing if an intact copy is there. Replaces a broken one (a disk fault, an unfinished removal).
        Raises BundleError, which names the file that differs, and OSError.
        """
        digest = manifest_digest(bundle)
        if not self._is_intact(digest):
            self._install_copy(bundle, digest)
        if self._publish and self._origin is not None:
            self._origin.publish(self._read_verified(digest), f"{DIGEST_DIR}/{digest}")
        return digest

    def _install_copy(self, bundle: Bundle, digest: str) -> None:
        target = self._path(digest)
        verify(bundle)
        target.parent.mkdir(parents=True, exist_ok=True)
        building = target.with_name(f".{digest[:16]}.{uuid.uuid4().hex}")
        building.mkdir()
        try:
            for path in _file_names(bundle):
                _copy_durably(bundle.root / path, building / path)
            copy = read(building)
            if manifest_digest(copy) != digest:
                raise BundleError(f"bundle {bundle.manifest.name} changed while it was copied")
            verify(copy)
            with held(self._root / LOCK):
                # Replicas that start together share the directory: one of them may have been faster, and its
                # copy may be in use.
                if not self._is_intact(digest):
                    self.remove(digest)
                    self._move_into_place(building, digest)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _move_into_place(self, made: Path, digest: str) -> None:
        """Renames a complete bundle to its final path."""
        target = self._path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(target)
        except OSError:
            # Another process was faster: its copy must be the same.
            self._read_verified(digest)

    def find_by_digest(self, digest: str) -> Bundle:
        """Returns the registered bundle, verified; fetches it from the origin if it is not here.

        Raises BundleError, whose text holds no path.
        """
        if self._origin is not None and not (self._path(digest) / MANIFEST_NAME).is_file():
            fetched = self._fetch(self._origin, f"{DIGEST_DIR}/{digest}")
            try:
                if manifest_digest(fetched) != digest:
                    raise BundleError("the bundle origin gave another bundle than that of the digest")
                self._move_into_place(fetched.root, digest)
            finally:
                self.discard(fetched)
        return self._read_verified(digest)

    def _fetch(self, origin: BundleOrigin, name: str) -> Bundle:
        target = self._root / FETCH_DIR / uuid.uuid4().hex
        try:
            return origin.fetch(name, target)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise

    def _read_verified(self, digest: str) -> Bundle:
        path = self._path(digest)
        if not (path / MANIFEST_NAME).is_file():
            raise BundleError(f"the registry directory holds no bundle with the digest {digest[:16]}")
        bundle = read(path)
        if manifest_digest(bundle) != digest:
            raise BundleError(f"bundle {bundle.manifest.name} was changed after it was registered")
        verify(bundle)
        return bundle

    def remove(self, digest: str) -> None:
        """Removes a registered bundle in one step; does nothing if there is none."""
        path = self._path(digest)
        trash = path.with_name(f".{digest[:16]}.{uuid.uuid4().hex}")
        try:
            path.rename(trash)
        except FileNotFoundError:
            return
        shutil.rmtree(trash, ignore_errors=True)

    def _is_intact(self, digest: str) -> bool:
        try:
            self._read_verified(digest)
        except BundleError:
            return False
        return True

    def _path(self, digest: str) -> Path:
        return self._root / DIGEST_DIR / digest


def bundle_store(settings: Settings) -> BundleStore:
    """Opens the store that the settings describe. Raises OriginError if the origin's URL is unusable."""
    if settings.bundle_url is None:
        return BundleStore(settings.bundle_registry)
    token = None if settings.bundle_token is None else settings.bundle_token.get_secret_value()
    origin = BundleOrigin(settings.bundle_url.get_secret_value(), token=token)
    return BundleStore(settings.bundle_registry, origin, publish=settings.bundle_publish)


def _file_names(bundle: Bundle) -> list[str]:
    """Lists the manifest, the files it names, and the files beside it: a model card, a signature."""
    named = {MANIFEST_NAME, *(ref.path for ref in bundle.manifest.files)}
    beside = {path.name for path in bundle.root.iterdir() if path.is_file() and not path.is_symlink()}
    return sorted(named | {name for name in beside if not name.startswith(".")})


def _copy_durably(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        # The database will refer to the copy, so the copy must survive a power cut as well.
        os.fsync(writing.fileno())
