"""Scans a folder of photos, `root/<subject>/<files>`, and derives keys that make its enrolment resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.cli.output import Failure


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of one subject; `name` is its path below the root."""

    subject_id: str
    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A file that was not enrolled. `code` comes from the service, or from the scan if it was not sent."""

    name: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class FolderScan:
    """The photos of a folder and its unusable entries, in order of names."""

    photos: tuple[Photo, ...]
    rejections: tuple[Rejection, ...]

    @property
    def subjects(self) -> int:
        return len({photo.subject_id for photo in self.photos})


def scan_folder(root: Path) -> FolderScan:
    """Lists a folder without opening its files. Raises Failure if the folder cannot be read.

    Skips hidden files; every other entry becomes a photo or a rejection.
    """
    photos, rejections = [], []
    for entry in _visible_entries(root):
        if not entry.is_dir():
            rejections.append(Rejection(entry.name, "no_subject", f"move it to {root.name}/<subject>/"))
            continue
        for item in _visible_entries(entry):
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
    return FolderScan(tuple(photos), tuple(rejections))


def _visible_entries(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise Failure(f"{folder}: {error.strerror}") from error
    return (entry for entry in entries if not entry.name.startswith("."))


def idempotency_key(subject_id: str, image: bytes, *, spectrum: str, allow_duplicate: bool) -> str:
    """Returns one key for the same photo, subject and options.

    A request holds one photo, so a folder that has grown since the last run enrols only the new photos.
    """
    digest = hashlib.sha256(image).hexdigest()
    what = json.dumps([subject_id, digest, spectrum, allow_duplicate])
    return "folder-" + hashlib.sha256(what.encode()).hexdigest()
