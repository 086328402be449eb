"""LFW (deep-funneled) from its tar, with the fixed split by identity."""

from __future__ import annotations

import hashlib
import tarfile
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from training.data.records import DataSetError


class Split(StrEnum):
    """Never train, tune or select on `TEST`."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo: its name in the archive, and its encoded bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """One subject with at least one photo, photos in order of their numbers."""

    name: str
    photos: tuple[Photo, ...]


def split_of(identity: str) -> Split:
    """The split, by the first hex digit of the name's SHA-1: below 4 test, 4 validation, else train."""
    digit = int(hashlib.sha1(identity.encode(), usedforsecurity=False).hexdigest()[0], 16)
    if digit < 4:
        return Split.TEST
    return Split.VALIDATION if digit < 5 else Split.TRAIN


def read_lfw(tar: Path, splits: frozenset[Split]) -> list[Identity]:
    """Identities of these splits, by name. Raises DataSetError if the archive is missing."""
    photos: dict[str, list[Photo]] = defaultdict(list)
    try:
        with tarfile.open(tar) as archive:
            for member in archive:
                parts = member.name.split("/")
                if len(parts) != 3 or split_of(parts[1]) not in splits:
                    continue
                stream = archive.extractfile(member)
                if stream is None:
                    raise DataSetError(f"{tar.name}: {member.name} is no file")
                photos[parts[1]].append(Photo(member.name, stream.read()))
    except OSError as error:
        raise DataSetError(f"{tar.name} cannot be read ({error.strerror}): give the LFW archive") from error
    except tarfile.TarError as error:
        raise DataSetError(f"{tar.name} is no tar: {error}") from error
    if not photos:
        raise DataSetError(f"{tar.name} holds no lfw/<name>/<photo>: is it the LFW archive?")
    return [
        Identity(name, tuple(sorted(photos[name], key=lambda photo: photo.name))) for name in sorted(photos)
    ]
