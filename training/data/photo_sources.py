"""Every face photo that the built-in embedder may learn from; none of a subject that is tested on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from training.data.faces_extra import read_extra
from training.data.lfw import Photo, Split, read_lfw

OPEN_TERMS = frozenset({"CC0", "CC-BY-4.0"})


class Terms(StrEnum):
    """Of further faces: all, or only those whose terms allow any use, weights to be sold among them."""

    ALL = "all"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Shot:
    """One photo. `subject`: whose it is; where nobody knows, the photo's own name."""

    photo: Photo
    subject: str


def lfw_shots(tar: Path) -> Iterator[Shot]:
    """Every photo of LFW's training identities. Raises DataSetError."""
    for identity in read_lfw(tar, frozenset({Split.TRAIN})):
        for photo in identity.photos:
            yield Shot(photo, identity.name)


def extra_shots(archive: Path, *, terms: Terms) -> Iterator[Shot]:
    """Photos of nobody known: the labelled ones are tested on, group by group. Raises DataSetError."""
    for face in read_extra(archive, labelled=False):
        if terms is Terms.ALL or face.terms in OPEN_TERMS:
            yield Shot(face.photo, face.file)
