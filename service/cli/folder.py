"""Scans a folder of photos, `root/<subject>/<files>`, and derives keys that make its enrolment resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.cli.output import Failure

# What file managers and people leave among photos: it is passed over and counted.
OTHER_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "readme", "license"})
OTHER_SUFFIXES = frozenset(
    {".txt", ".md", ".rst", ".rtf", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".htm"}
    | {".yaml", ".yml", ".toml", ".ini", ".cfg", ".log", ".url", ".nfo", ".db", ".lnk"}
)


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
    """What a folder holds, in order of names: photos to send, what belongs to no subject, and how many
    entries were skipped because their names say that they are no photos."""

    photos: tuple[Photo, ...]
    rejections: tuple[Rejection, ...]
    skipped: int

    @property
    def subjects(self) -> int:
        return len({photo.subject_id for photo in self.photos})


def scan_folder(root: Path) -> FolderScan:
    """Lists a folder without opening its files. Raises Failure if the folder cannot be read.

    Hidden files, text files and what file managers leave are skipped; anything else is either a photo or
    a rejection.
    """
    photos, rejections, skipped = [], [], 0
    for entry in _entries(root):
        if _is_other(entry):
            skipped += 1
            continue
        if not entry.is_dir():
            rejections.append(Rejection(entry.name, "no_subject", f"move it to {root.name}/<subject>/"))
            continue
        for item in _entries(entry):
            name = f"{entry.name}/{item.name}"
            if _is_other(item):
                skipped += 1
            elif item.is_file():
                photos.append(Photo(entry.name, item, name))
            elif item.is_dir():
                rejections.append(
                    Rejection(name, "nested_folder", "photos lie directly in the subject's folder")
                )
            else:
                rejections.append(
                    Rejection(name, "unreadable_file", "not a file, or a link that leads nowhere")
                )
    return FolderScan(tuple(photos), tuple(rejections), skipped)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise Failure(f"{folder}: {error.strerror}") from error


def _is_other(entry: Path) -> bool:
    """Whether a name says that this is no photo. A subject's folder may have any name but a hidden one."""
    name = entry.name.lower()
    if name.startswith(".") or name == "__macosx":
        return True
    return not entry.is_dir() and (name in OTHER_NAMES or entry.suffix.lower() in OTHER_SUFFIXES)


def idempotency_key(subject_id: str, image: bytes, options: Mapping[str, str | None]) -> str:
    """Returns one key for the same photo, subject and options.

    A request holds one photo, so a folder that has grown since the last run enrols only the new photos.
    """
    digest = hashlib.sha256(image).hexdigest()
    what = json.dumps([subject_id, digest, dict(options)], sort_keys=True)
    return "folder-" + hashlib.sha256(what.encode()).hexdigest()
