"""Bundles at a URL, for replicas that share no directory: an object store, or any server of plain files.

    URL/NAME/            put there by an operator, registered by name
    URL/sha256/DIGEST/   registered; written by the replica that registered it, read by the others

`https://` (a bearer token, or a signed query in the URL), `s3://BUCKET/PREFIX`, `file:///DIR`. Whatever comes
from there is believed only as far as its digests and, where a key is configured, its signature go.
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

# What may lie beside the files that the manifest names: a signature (`signing`), a model card.
BESIDE = ("manifest.sig", "MODEL_CARD.md")
SMALL_BYTES = 8 << 20
BLOCK_BYTES = 1 << 20
TIMEOUT_S = 60.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
UNREACHED = "the bundle origin cannot be reached"


class OriginError(ValueError):
    """The URL cannot be used. The text holds nothing of it."""


class BundleOrigin:
    """Reads and writes below one URL; every method is blocking, and raises BundleError without the URL."""

    def __init__(self, url: str, *, token: str | None = None, env: Mapping[str, str] = os.environ) -> None:
        """`env`: where S3's credentials and endpoint are named. Raises OriginError."""
        parts = urlsplit(url)
        self._directory: Path | None = None
        self._auth: httpx.Auth | None = None
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}
        if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
            self._directory = Path(unquote(parts.path))
        elif parts.scheme == "s3" and parts.netloc:
            credentials = S3Credentials.of(env)
            region = credentials.region if credentials else env.get("AWS_REGION", "us-east-1")
            endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
            endpoint = endpoint or f"https://s3.{region}.amazonaws.com"
            self._base = _checked(f"{endpoint.rstrip('/')}/{parts.netloc}{parts.path}")
            self._auth = None if credentials is None else S3Auth(credentials)
        else:
            self._base = _checked(url)

    def fetch(self, name: str, target: Path) -> Bundle:
        """The bundle below `name`, in the new directory `target`, digests verified."""
        target.mkdir(parents=True, mode=0o700)
        with self._client() as client:
            if not self._get(client, f"{name}/{MANIFEST_NAME}", target / MANIFEST_NAME, SMALL_BYTES):
                raise BundleError("the bundle origin holds no such bundle")
            manifest = parse_manifest((target / MANIFEST_NAME).read_bytes())
            for ref in manifest.files:
                place = target / ref.path
                place.parent.mkdir(parents=True, exist_ok=True)
                if not self._get(client, f"{name}/{ref.path}", place, ref.bytes):
                    raise BundleError(f"bundle {manifest.name}: the origin lacks {ref.path}")
            for extra in BESIDE:
                self._get(client, f"{name}/{extra}", target / extra, SMALL_BYTES)
        bundle = read(target)
        verify(bundle)
        return bundle

    def offer(self, bundle: Bundle, name: str) -> None:
        """Write the bundle below `name`, its manifest last, unless it is there."""
        files = [ref.path for ref in bundle.manifest.files]
        files += [extra for extra in BESIDE if (bundle.root / extra).is_file()]
        with self._client() as client:
            if self._has(client, f"{name}/{MANIFEST_NAME}"):
                return
            for path in (*files, MANIFEST_NAME):
                self._put(client, f"{name}/{path}", bundle.root / path)

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        try:
            with httpx.Client(timeout=TIMEOUT_S, auth=self._auth, headers=self._headers) as client:
                yield client
        except httpx.HTTPError as error:
            raise BundleError(f"{UNREACHED} ({type(error).__name__})") from error
        except OSError as error:
            raise BundleError(f"the bundle cannot be fetched or written: {error.strerror}") from error

    def _url(self, path: str) -> httpx.URL:
        return self._base.copy_with(path=f"{self._base.path.rstrip('/')}/{path}")

    def _has(self, client: httpx.Client, path: str) -> bool:
        if self._directory is not None:
            return (self._directory / path).is_file()
        return _found(client.head(self._url(path)))

    def _get(self, client: httpx.Client, path: str, target: Path, most_bytes: int) -> bool:
        """False where there is none. No more than `most_bytes` are taken."""
        if self._directory is not None:
            source = self._directory / path
            if not source.is_file():
                return False
            if source.stat().st_size > most_bytes:
                raise BundleError(f"{target.name} at the bundle origin is larger than it should be")
            shutil.copyfile(source, target)
            return True
        # Of a compressed answer nobody could tell how large it is.
        with client.stream("GET", self._url(path), headers={"accept-encoding": "identity"}) as answer:
            if not _found(answer):
                return False
            with target.open("xb") as out:
                for block in answer.iter_bytes(BLOCK_BYTES):
                    if out.tell() + len(block) > most_bytes:
                        raise BundleError(f"{target.name} at the bundle origin is larger than it should be")
                    out.write(block)
        return True

    def _put(self, client: httpx.Client, path: str, source: Path) -> None:
        if self._directory is not None:
            place = self._directory / path
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = place.with_name(f".{place.name}.partial")
            shutil.copyfile(source, partial)
            partial.replace(place)
            return
        headers = {"content-length": str(source.stat().st_size), BODY_DIGEST: file_sha256(source)}
        with source.open("rb") as stream:
            answer = client.put(self._url(path), content=stream, headers=headers)
        if not answer.is_success:
            raise BundleError(f"the bundle origin takes no bundle (status {answer.status_code})")


def _found(answer: httpx.Response) -> bool:
    if answer.status_code == httpx.codes.NOT_FOUND:
        return False
    if answer.status_code != httpx.codes.OK:
        raise BundleError(f"the bundle origin refuses (status {answer.status_code})")
    return True


def _checked(url: str) -> httpx.URL:
    parts = urlsplit(url)
    plain = parts.scheme == "http" and (parts.hostname or "") in LOOPBACK
    if not (plain or parts.scheme == "https") or not parts.hostname:
        raise OriginError("the bundle origin is https://, s3://BUCKET/PREFIX or file:///DIRECTORY")
    return httpx.URL(url)
