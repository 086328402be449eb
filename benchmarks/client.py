"""A client of a running service, with the photos and the senders that the accuracy benchmarks share."""

from __future__ import annotations

import hashlib
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
from rich.console import Console
from rich.progress import track

SENDERS = 2
TEST_DIGITS = "0123"
T = TypeVar("T")
R = TypeVar("R")


def lfw_test_pairs(tar: Path) -> dict[str, tuple[bytes, bytes]]:
    """Reads the first and second photo of each LFW test identity that has two (split: SHA-1 of the name)."""
    photos: dict[str, dict[str, bytes]] = defaultdict(dict)
    with tarfile.open(tar) as archive:
        for member in archive:
            parts = member.name.split("/")
            if len(parts) != 3 or not member.isfile():
                continue
            if hashlib.sha1(parts[1].encode(), usedforsecurity=False).hexdigest()[0] in TEST_DIGITS:
                stream = archive.extractfile(member)
                assert stream is not None
                photos[parts[1]][member.name] = stream.read()
    pairs = {name: sorted(files.items())[:2] for name, files in sorted(photos.items()) if len(files) > 1}
    return {name: (first[1], second[1]) for name, (first, second) in pairs.items()}


@dataclass(frozen=True, slots=True)
class EnrolAnswer:
    """The sample that was stored, or the code of the refusal."""

    sample: dict[str, Any] | None = None
    code: str | None = None


class ServiceClient:
    """A client of a running service; safe to use from several threads."""

    def __init__(self, base: str, key: str | None) -> None:
        self.url = base
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=base, timeout=60, headers=headers)

    def enrol(self, subject: str, image: bytes) -> bool:
        """Enrols a subject with one photo, whomever it resembles; returns whether the service did."""
        return self.enrolment(subject, image, allow_duplicate="true").code is None

    def enrolment(self, subject: str, image: bytes, **form: str) -> EnrolAnswer:
        """Enrols a subject with one photo; asks again where the service is busy.

        Raises httpx.HTTPStatusError if it stays busy, or is at fault.
        """
        files = [("images", ("photo", image, media_type(image)))]
        for wait_s in (1, 2, 4, 8, 0):
            answer = self._http.post("/enroll", data={"subject_id": subject, **form}, files=files)
            if answer.status_code == httpx.codes.CREATED:
                return EnrolAnswer(sample=answer.json()["samples"][0])
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(wait_s)
        if answer.is_server_error:
            answer.raise_for_status()
        return EnrolAnswer(code=answer.json()["code"])

    def verify(self, subject: str, image: bytes) -> dict[str, Any]:
        """Returns the answer of `/verify`. Raises httpx.HTTPStatusError for a refusal."""
        files = {"image": ("photo", image, media_type(image))}
        answer = self._http.post("/verify", data={"subject_id": subject}, files=files)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def ask(self, path: str, image: bytes, **query: Any) -> list[dict[str, Any]]:
        """Returns the `results` of `/identify` or `/detect`, empty if no face was found."""
        answer = self._http.post(
            path, content=image, headers={"content-type": media_type(image)}, params=query
        )
        if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
            return []
        answer.raise_for_status()
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def close(self) -> None:
        self._http.close()

    def erase(self, subject: str) -> None:
        self._http.delete(f"/subjects/{subject}")

    def erase_sample(self, subject: str, sample: str) -> None:
        self._http.delete(f"/subjects/{subject}/samples/{sample}").raise_for_status()


def media_type(image: bytes) -> str:
    """Returns the media type by the first bytes, as the service does."""
    if image[:4] == b"RIFF":
        return "image/webp"
    return "image/png" if image[:1] == b"\x89" else "image/jpeg"


def send(what: str, call: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Calls `call` for each item from a few threads, with a progress bar; returns the results in order."""
    with ThreadPoolExecutor(SENDERS) as pool:
        calls = pool.map(call, items)
        return list(track(calls, what, len(items), console=Console(stderr=True), transient=True))
