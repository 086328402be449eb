"""Walks through a folder of photos, `root/<subject>/<files>`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from service.bulk.names import is_other
from service.bulk.types import MAX_PHOTO_BYTES, BulkPhoto, PhotoTooLarge, Rejection, SourceCount, SourceError


class FolderSource:
    """Photos in order of names. Hidden files, text files and what file managers leave are skipped;
    anything else is either a photo or a rejection."""

    def __init__(self, root: Path) -> None:
        self._root, self._skipped = root, 0

    def count(self) -> SourceCount:
        """Lists the folder without opening its files. Raises SourceError."""
        entries = photos = 0
        for one in self:
            entries += 1
            photos += isinstance(one, BulkPhoto)
        return SourceCount(entries, photos, self._skipped)

    def __iter__(self) -> Iterator[BulkPhoto | Rejection]:
        self._skipped = 0
        for entry in _entries(self._root):
            if is_other(entry.name, folder=entry.is_dir()):
                self._skipped += 1
            elif entry.is_dir():
                yield from self._of_subject(entry)
            else:
                yield Rejection(entry.name, "no_subject", f"move it to {self._root.name}/<subject>/")

    def _of_subject(self, folder: Path) -> Iterator[BulkPhoto | Rejection]:
        if not folder.is_dir():
            # Somebody removed it since it was listed: an erasure does, while a job reads an upload.
            yield Rejection(f"{folder.name}/", "unreadable_file", "the folder is gone")
            return
        for item in _entries(folder):
            name = f"{folder.name}/{item.name}"
            if is_other(item.name, folder=item.is_dir()):
                self._skipped += 1
            elif item.is_file():
                yield BulkPhoto(name=name, subject_id=folder.name, read=partial(read_photo, item))
            elif item.is_dir():
                yield Rejection(name, "nested_folder", "photos lie directly in the subject's folder")
            else:
                yield Rejection(name, "unreadable_file", "not a file, or a link that leads nowhere")


def read_photo(path: Path) -> bytes:
    """The bytes of a file. Raises OSError, PhotoTooLarge."""
    with path.open("rb") as file:
        data = file.read(MAX_PHOTO_BYTES + 1)
    if len(data) > MAX_PHOTO_BYTES:
        raise PhotoTooLarge
    return data


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder.name} cannot be read: {error.strerror}") from error
