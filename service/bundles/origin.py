"""Reads and writes bundles at a URL, for replicas that share no directory.

    URL/NAME/            put there by an operator, registered by name
    URL/sha256/DIGEST/   registered; written by the replica that registered it, read by the others

The URL is `https://` (with a bearer token or a signed query), `s3://BUCKET/PREFIX` or `file:///DIR`. The
service trusts a fetched bundle only after its digests match and, if a key is configured, its signature.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from faces.bundle import MANIFEST_NAME, Bundle, BundleError, file_sha256, parse_manifest, read, verify
from service.bundles.s3 import BODY_DIGEST, S3Auth, S3Credentials

# Files that a bundle may hold besides those that its manifest names: a signature (`signing`), a model card.
OPTIONAL_FILES = ("manifest.sig", "MODEL_CARD.md")
MAX_SMALL_BYTES = 8 << 20
BLOCK_BYTES = 1 << 20
TIMEOUT_S = 60.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
UNREACHABLE = "the bundle origin cannot be reached"


class OriginError(ValueError):
    """The URL cannot be used. The text quotes no part of it."""


class BundleOrigin:
    """Reads and writes bundles below one URL.

    Every method blocks, and raises BundleError, whose text does not hold the URL, if the origin fails.
    """

    def __init__(self, url: str, *, token: str | None = None, env: Mapping[str, str] = os.environ) -> None:
        """`env` names S3's credentials and endpoint. Raises OriginError if the URL cannot be used."""
        parts = urlsplit(url)
        self._directory: Path | None = None
        self._auth: httpx.Auth | None = None
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}
        if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
            self._directory = Path(unquote(parts.path))
        elif parts.scheme == "s3" and parts.netloc:
            credentials = S3Credentials.from_env(env)
            region = credentials.region if credentials else env.get("AWS_REGION", "us-east-1")
            endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
            endpoint = endpoint or f"https://s3.{region}.amazonaws.com"
            self._base = _parse_url(f"{endpoint.rstrip('/')}/{parts.netloc}{parts.path}")
            self._auth = None if credentials is None else S3Auth(credentials)
        else:
            self._base = _parse_url(url)

    def fetch(self, name: str, target: Path) -> Bundle:
        """Fetches the bundle below `name` into the new directory `target` and verifies its digests."""
        target.mkdir(parents=True, mode=0o700)
        with self._client() as client:
            if not self._download(client, f"{name}/{MANIFEST_NAME}", target / MANIFEST_NAME, MAX_SMALL_BYTES):
                raise BundleError("the bundle origin holds no such bundle")
            manifest = parse_manifest((target / MANIFEST_NAME).read_bytes())
            for ref in manifest.files:
                place = target / ref.path
                place.parent.mkdir(parents=True, exist_ok=True)
                if not self._download(client, f"{name}/{ref.path}", place, ref.bytes):
                    raise BundleError(f"bundle {manifest.name}: the origin lacks {ref.path}")
            for extra in OPTIONAL_FILES:
                self._download(client, f"{name}/{extra}", target / extra, MAX_SMALL_BYTES)
        bundle = read(target)
        verify(bundle)
        return bundle

    def publish(self, bundle: Bundle, name: str) -> None:
        """Writes the bundle below `name`, its manifest last; does nothing if the origin has it."""
        files = [ref.path for ref in bundle.manifest.files]
        files += [extra for extra in OPTIONAL_FILES if (bundle.root / extra).is_file()]
        with self._client() as client:
            if self._exists(client, f"{name}/{MANIFEST_NAME}"):
                return
            for path in (*files, MANIFEST_NAME):
                self._upload(client, f"{name}/{path}", bundle.root / path)

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        try:
            with httpx.Client(timeout=TIMEOUT_S, auth=self._auth, headers=self._headers) as client:
                yield client
        except httpx.HTTPError as error:
            raise BundleError(f"{UNREACHABLE} ({type(error).__name__})") from error
        except OSError as error:
            raise BundleError(f"the bundle cannot be fetched or written: {error.strerror}") from error

    def _url(self, path: str) -> httpx.URL:
        return self._base.copy_with(path=f"{self._base.path.rstrip('/')}/{path}")

    def _exists(self, client: httpx.Client, path: str) -> bool:
        if self._directory is not None:
            return (self._directory / path).is_file()
        return _is_found(client.head(self._url(path)))

    def _download(self, client: httpx.Client, path: str, target: Path, max_bytes: int) -> bool:
        """Returns false if the origin has no such file. Raises BundleError past `max_bytes`."""
        if self._directory is not None:
            source = self._directory / path
            if not source.is_file():
                return False
            if source.stat().st_size > max_bytes:
                raise BundleError(f"{target.name} at the bundle origin is larger than it should be")
            shutil.copyfile(source, target)
            return True
        # The size of a compressed response is not known before it is unpacked.
        with client.stream("GET", self._url(path), headers={"accept-encoding": "identity"}) as response:
            if not _is_found(response):
                return False
            with target.open("xb") as out:
                for block in response.iter_bytes(BLOCK_BYTES):
                    if out.tell() + len(block) > max_bytes:
                        raise BundleError(f"{target.name} at the bundle origin is larger than it should be")
                    out.write(block)
        return True

    def _upload(self, client: httpx.Client, path: str, source: Path) -> None:
        if self._directory is not None:
            place = self._directory / path
            place.parent.mkdir(parents=True, exist_ok=True)
            # A name of its own: replicas may bring the same bundle at the same time.
            partial = place.with_name(f".{place.name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
            try:
                shutil.copyfile(source, partial)
                partial.replace(place)
            finally:
                partial.unlink(missing_ok=True)
            return
        headers = {"content-length": str(source.stat().st_size), BODY_DIGEST: file_sha256(source)}
        with source.open("rb") as stream:
            response = client.put(self._url(path), content=stream, headers=headers)
        if not response.is_success:
            raise BundleError(f"the bundle origin takes no bundle (status {response.status_code})")


def _is_found(response: httpx.Response) -> bool:
    if response.status_code == httpx.codes.NOT_FOUND:
        return False
    if response.status_code != httpx.codes.OK:
        raise BundleError(f"the bundle origin refuses (status {response.status_code})")
    return True


def _parse_url(url: str) -> httpx.URL:
    parts = urlsplit(url)
    plain = parts.scheme == "http" and (parts.hostname or "") in LOOPBACK
    if not (plain or parts.scheme == "https") or not parts.hostname:
        raise OriginError("the bundle origin is https://, s3://BUCKET/PREFIX or file:///DIRECTORY")
    return httpx.URL(url)
