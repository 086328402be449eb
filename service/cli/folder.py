"""A folder of photos, `root/<subject>/<files>`: what is in it, and the key that makes it resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.cli.output import Failure


@dataclass(frozen=True, slots=True)
class Photo:
    """One file of one subject; `name` is its path below the root."""

    subject_id: str
    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A file that was not enrolled, and why. `code` is the service's, or ours before it was sent."""

    name: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a folder holds, in order of names: photos to send, and what belongs to no subject."""

    photos: tuple[Photo, ...]
    rejections: tuple[Rejection, ...]

    @property
    def subjects(self) -> int:
        return len({photo.subject_id for photo in self.photos})


def survey(root: Path) -> Plan:
    """Look through a folder without opening its files. Raises Failure where it cannot be read.

    Hidden files are left out; anything else is either a photo or a rejection, never passed over.
    """
    photos, rejections = [], []
    for entry in _visible(root):
        if not entry.is_dir():
            rejections.append(Rejection(entry.name, "no_subject", f"move it to {root.name}/<subject>/"))
            continue
        for item in _visible(entry):
            name = f"{entry.name}/{item.name}"
            if item.is_file():
                photos.append(Photo(entry.name, item, name))
            elif item.is_dir():
                rejections.append(
                    Rejection(name, "nested_folder", "photos lie directly in the subject's folder")
                )
            else:
                rejections.append(
                    Rejection(name, "unreadable_file", "not a file, or a link that leads nowhere")
                )
    return Plan(tuple(photos), tuple(rejections))


def _visible(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise Failure(f"{folder}: {error.strerror}") from error
    return (entry for entry in entries if not entry.name.startswith("."))


def idempotency_key(subject_id: str, image: bytes, *, spectrum: str, allow_duplicate: bool) -> str:
    """The same photo of the same subject with the same options has the same key.

    One photo a request: a folder that grew since the last run sends only what is new.
    """
    digest = hashlib.sha256(image).hexdigest()
    what = json.dumps([subject_id, digest, spectrum, allow_duplicate])
    return "folder-" + hashlib.sha256(what.encode()).hexdigest()
