"""What became of each labelled photo: a template with its condition, or the reason that there is none."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faces.types import CONDITIONS, Condition
from service.evaluation.labelled import LabelledPhoto

# Files that no camera could have sent like this: they are named, and count in no rate.
BROKEN = frozenset(
    {
        "unreadable_file",
        "undecodable_image",
        "unsupported_media_type",
        "image_too_large",
        "image_too_costly",
        "body_too_large",
        "same_picture",
    }
)
AGAIN = "same_picture"


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A unit vector float32 [d] of a face, with the condition that the service saw the face in.

    `box`: left, top, width and height in pixels of the photo. `reasons`: what keeps the quality down.
    `cohort`: the id of what its scores are relative to, and `taken`: what comes off its cosines with
    templates of each condition; None and nothing where scores are cosines.
    """

    vector: NDArray[np.float32]
    condition: Condition
    mask_state: str
    quality: int
    reasons: tuple[str, ...]
    box: tuple[float, float, float, float]
    cohort: str | None = None
    taken: Mapping[Condition, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.taken) != (set() if self.cohort is None else set(CONDITIONS)):
            raise ValueError("by a cohort something is taken for every condition, and without one for none")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a photo gave no template: the service's code and sentence."""

    code: str
    detail: str

    @property
    def broken(self) -> bool:
        """Whether the file is at fault, and not the acquisition of a face."""
        return self.code in BROKEN


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """A photo and its template, or the reason that it has none. `digest`: SHA-256 of the file, or ""."""

    photo: LabelledPhoto
    digest: str
    found: Template | Reason


class Describer(Protocol):
    """Describes the meant face of a photo by the service's own pipeline."""

    @property
    def space_id(self) -> str: ...

    async def describe(self, photo: LabelledPhoto, data: bytes) -> Template | Reason:
        """Raises whatever would stop every other photo as well."""
        ...


class Kept(Protocol):
    """Keeps what was described, so that a run that was killed goes on."""

    def get(self, photo: LabelledPhoto, digest: str) -> Template | Reason | None: ...

    def put(self, photo: LabelledPhoto, digest: str, found: Template | Reason) -> None: ...


async def describe_all(
    photos: Sequence[LabelledPhoto], describer: Describer, kept: Kept | None, *, at_once: int
) -> AsyncIterator[Described]:
    """Yields every photo in order, with what became of it; `at_once` photos are in work at any time."""
    places, waiting = asyncio.Semaphore(at_once), list[asyncio.Task[Described]]()

    async def one(photo: LabelledPhoto) -> Described:
        async with places:
            return await _describe(photo, describer, kept)

    try:
        for start in range(0, len(photos), 4 * at_once):
            waiting = [asyncio.create_task(one(photo)) for photo in photos[start : start + 4 * at_once]]
            for task in waiting:
                yield await task
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _describe(photo: LabelledPhoto, describer: Describer, kept: Kept | None) -> Described:
    try:
        data = await asyncio.to_thread(photo.path.read_bytes)
    except OSError as error:
        return Described(photo, "", Reason("unreadable_file", error.strerror or "the file cannot be read"))
    digest = hashlib.sha256(data).hexdigest()
    if kept is not None and (known := kept.get(photo, digest)) is not None:
        return Described(photo, digest, known)
    found = await describer.describe(photo, data)
    if kept is not None:
        kept.put(photo, digest, found)
    return Described(photo, digest, found)


def without_repeats(found: Sequence[Described]) -> tuple[Described, ...]:
    """The same list, in which a probe that is the very picture of a reference, or of an earlier probe of
    another label, is refused: its score would measure nothing."""
    references = {one.digest: one.photo for one in found if one.photo.role == "reference" and one.digest}
    seen: dict[str, LabelledPhoto] = {}
    kept = []
    for one in found:
        if one.photo.role == "probe" and one.digest:
            other = references.get(one.digest) or seen.setdefault(one.digest, one.photo)
            if other is not one.photo:
                one = replace(one, found=Reason(AGAIN, f"it is the same picture as {other.name}"))
        kept.append(one)
    return tuple(kept)
