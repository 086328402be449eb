"""Every face photo for training the built-in embedder; none shows a subject of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from training.data.faces_extra import read_extra
from training.data.lfw import Photo, Split, read_lfw

OPEN_TERMS = frozenset({"CC0", "CC-BY-4.0"})


class Terms(StrEnum):
    """Terms of further faces: all, or only those that allow any use, even selling weights."""

    ALL = "all"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Shot:
    """One photo. `subject`: its name, or the photo's own name if the subject is unknown."""

    photo: Photo
    subject: str


def lfw_shots(tar: Path, split: Split = Split.TRAIN) -> Iterator[Shot]:
    """Every photo of LFW's identities of one split. Raises DataSetError; ValueError for the test split."""
    if split is Split.TEST:
        raise ValueError("the photos of test identities are for trials")
    for identity in read_lfw(tar, frozenset({split})):
        for photo in identity.photos:
            yield Shot(photo, identity.name)


def extra_shots(archive: Path, *, terms: Terms) -> Iterator[Shot]:
    """Photos of unknown subjects; tests use the labelled ones, group by group. Raises DataSetError."""
    for face in read_extra(archive, labelled=False):
        if terms is Terms.ALL or face.terms in OPEN_TERMS:
            yield Shot(face.photo, face.file)
