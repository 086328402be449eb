"""Reads the photos of the table: LFW test subjects, and the labelled part of `faces_extra`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faces.types import Condition
from training.data.faces_extra import read_extra
from training.data.lfw import Photo, Split, read_lfw
from training.views.conditions import PHOTO

LFW = "LFW test"


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject. `reference`: the photo that is enrolled; `probes`: other photos, which are `shown` so."""

    name: str
    group: str
    reference: Photo
    probes: tuple[Photo, ...]
    shown: Condition = PHOTO


def lfw_subjects(tar: Path, *, probes: int, limit: int = 0) -> list[Subject]:
    """Reads test subjects with two photos or more, `limit` of them (0: all). Raises OSError, ValueError."""
    found = [one for one in read_lfw(tar, frozenset({Split.TEST})) if len(one.photos) > 1]
    return [
        Subject(one.name, LFW, one.photos[0], one.photos[1 : 1 + probes]) for one in found[: limit or None]
    ]


def group_subjects(archive: Path, *, probes: int, limit: int = 0) -> list[Subject]:
    """Reads subjects of `faces_extra.zip` with a name and two photos or more, by group; `limit` of each.

    Raises DataSetError if the archive is not there or is another one.
    """
    photos: dict[tuple[str, str, str], list[Photo]] = defaultdict(list)
    for face in read_extra(archive, labelled=True):
        photos[face.group, face.of_set, face.identity].append(face.photo)
    made: dict[str, list[Subject]] = defaultdict(list)
    for number, ((group, of_set, _), found) in enumerate(sorted(photos.items())):
        if len(found) > 1 and (not limit or len(made[group]) < limit):
            # Real names are not subject identifiers: some have letters that an identifier may not have.
            name = f"{of_set}.{number}"
            made[group].append(Subject(name, group, found[0], tuple(found[1 : 1 + probes])))
    return [one for group in made.values() for one in group]


def masked_photos(folder: Path, *, first: int, limit: int = 0) -> Sequence[Path]:
    """Returns the files whose number is `first` or more. Raises OSError if there are none."""
    found = sorted(path for path in folder.glob("*.*") if path.stem.isdigit() and int(path.stem) >= first)
    if not found:
        raise FileNotFoundError(f"{folder.name} has no photos from number {first:04d}")
    return found[: limit or None]
