"""The registry directory: bundles by digest, whole and verified, and those that wait to be registered.

    <root>/NAME/             put there by an operator or by a training job, registered by name
    <root>/sha256/DIGEST/    registered; DIGEST is the SHA-256 of its manifest, which holds every file's

    <root>/.fetched/         what comes from the bundle origin, until it is verified

What lies under its digest is never changed. Where there is a bundle origin (`bundle_origin`), what the
directory lacks comes from there.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from pathlib import Path

from faces.bundle import MANIFEST_NAME, Bundle, BundleError, file_sha256, read, verify
from service.bundles.origin import BundleOrigin
from service.settings import Settings

FETCHED = ".fetched"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
BY_DIGEST = "sha256"


def digest_of(bundle: Bundle) -> str:
    """SHA-256 of the manifest file: it holds the digest of every other file. Raises BundleError."""
    try:
        return file_sha256(bundle.root / MANIFEST_NAME)
    except OSError as error:
        raise BundleError(f"bundle {bundle.manifest.name}: the manifest cannot be read") from error


class BundleStore:
    """All access to the registry directory; every method is blocking."""

    def __init__(self, root: Path, origin: BundleOrigin | None = None, *, publish: bool = False) -> None:
        """`publish`: whether what is registered here is written to the origin, for other replicas."""
        self._root, self._origin, self._publish = root, origin, publish

    def waiting(self, name: str) -> Bundle:
        """The bundle of this name in the directory, unverified, else from the origin: `let_go` of it later.

        Raises BundleError, without a path.
        """
        if not NAME.fullmatch(name) or name == BY_DIGEST:
            raise BundleError("a bundle's name has 1 to 64 characters of a-z 0-9 . _ -")
        if (self._root / name / MANIFEST_NAME).is_file():
            return read(self._root / name)
        if self._origin is None:
            raise BundleError(f"the registry directory holds no bundle {name}")
        return self._fetch(self._origin, name)

    def let_go(self, bundle: Bundle) -> None:
        """Remove what `waiting` fetched; nothing of the registry directory's own."""
        if bundle.root.parent == self._root / FETCHED:
            shutil.rmtree(bundle.root, ignore_errors=True)

    def install(self, bundle: Bundle) -> str:
        """Verify and copy under its digest; the digest. Does nothing where it is there, whole.

        What lies there broken (a disk's fault, a removal cut short) is replaced.
        Raises BundleError naming the file that differs, OSError.
        """
        digest = digest_of(bundle)
        if not self._is_whole(digest):
            self._copy_in(bundle, digest)
        if self._publish and self._origin is not None:
            self._origin.offer(self._read(digest), f"{BY_DIGEST}/{digest}")
        return digest

    def _copy_in(self, bundle: Bundle, digest: str) -> None:
        target = self._place(digest)
        verify(bundle)
        self.forget(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        building = target.with_name(f".{digest[:16]}.{uuid.uuid4().hex}")
        building.mkdir()
        try:
            for path in _files(bundle):
                _copy(bundle.root / path, building / path)
            copy = read(building)
            if digest_of(copy) != digest:
                raise BundleError(f"bundle {bundle.manifest.name} changed while it was copied")
            verify(copy)
            self._name(building, digest)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _name(self, made: Path, digest: str) -> None:
        """Give a whole bundle its place."""
        target = self._place(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(target)
        except OSError:
            # Another process was faster; what it made must be the same.
            self._read(digest)

    def find(self, digest: str) -> Bundle:
        """The registered bundle, verified, from the origin where it is not here.

        Raises BundleError, without a path.
        """
        if self._origin is not None and not (self._place(digest) / MANIFEST_NAME).is_file():
            fetched = self._fetch(self._origin, f"{BY_DIGEST}/{digest}")
            try:
                if digest_of(fetched) != digest:
                    raise BundleError("the bundle origin gave another bundle than that of the digest")
                self._name(fetched.root, digest)
            finally:
                self.let_go(fetched)
        return self._read(digest)

    def _fetch(self, origin: BundleOrigin, name: str) -> Bundle:
        target = self._root / FETCHED / uuid.uuid4().hex
        try:
            return origin.fetch(name, target)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise

    def _read(self, digest: str) -> Bundle:
        place = self._place(digest)
        if not (place / MANIFEST_NAME).is_file():
            raise BundleError(f"the registry directory holds no bundle with the digest {digest[:16]}")
        bundle = read(place)
        if digest_of(bundle) != digest:
            raise BundleError(f"bundle {bundle.manifest.name} was changed after it was registered")
        verify(bundle)
        return bundle

    def forget(self, digest: str) -> None:
        """Remove a registered bundle's files, at once or not at all; does nothing where there are none."""
        place = self._place(digest)
        going = place.with_name(f".{digest[:16]}.{uuid.uuid4().hex}")
        try:
            place.rename(going)
        except FileNotFoundError:
            return
        shutil.rmtree(going, ignore_errors=True)

    def _is_whole(self, digest: str) -> bool:
        try:
            self._read(digest)
        except BundleError:
            return False
        return True

    def _place(self, digest: str) -> Path:
        return self._root / BY_DIGEST / digest


def bundle_store(settings: Settings) -> BundleStore:
    """The registry of bundles, with the origin that is configured. Raises OriginError."""
    if settings.bundle_url is None:
        return BundleStore(settings.bundle_registry)
    token = None if settings.bundle_token is None else settings.bundle_token.get_secret_value()
    origin = BundleOrigin(settings.bundle_url.get_secret_value(), token=token)
    return BundleStore(settings.bundle_registry, origin, publish=settings.bundle_publish)


def _files(bundle: Bundle) -> list[str]:
    """The manifest, what it names, and what else lies beside it: a card, a signature."""
    named = {MANIFEST_NAME, *(ref.path for ref in bundle.manifest.files)}
    beside = {path.name for path in bundle.root.iterdir() if path.is_file() and not path.is_symlink()}
    return sorted(named | {name for name in beside if not name.startswith(".")})


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        # The database will say that it is there: it must survive a power cut as that does.
        os.fsync(writing.fileno())
