"""Reads lists and folders of data sets, and tolerates traces of copying by hand and from Windows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from training.data.records import DataSetError

# The order of attempts if a list names the wrong suffix.
IMAGE_SUFFIXES = (".bmp", ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list that is not blank. `where`: list and line number, for messages."""

    text: str
    where: str


def read_lines(path: Path) -> tuple[Line, ...]:
    """The lines that are not blank, without line ends and byte order mark. Raises DataSetError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataSetError(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataSetError(f"{path.name} is not UTF-8: save it as UTF-8 text") from error
    lines = (Line(line.strip(), f"{path.name}, line {n}") for n, line in enumerate(text.splitlines(), 1))
    return tuple(line for line in lines if line.text)


def entry_path(text: str, where: str) -> PurePosixPath:
    """The path of a list's entry, with either slash. Raises DataSetError if it leaves the root."""
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"^[A-Za-z]:", text) or not path.parts:
        raise DataSetError(f"{where}: {text!r} is no path below the data set's root")
    return path


def is_image(name: str) -> bool:
    """Whether the suffix, in any case, is an image's; hidden files are no images."""
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def in_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that puts 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part)


@dataclass
class Finder:
    """Finds files below a root, ignoring case; lists each folder once."""

    root: Path
    _folders: dict[PurePosixPath, dict[str, str]] = field(default_factory=dict)

    def names(self, folder: PurePosixPath) -> dict[str, str]:
        """Names on disk by lower-case name; empty if the folder does not exist."""
        if folder not in self._folders:
            place = self.root / folder
            # Sorting decides between names that differ in case alone, the same way on every machine.
            found = sorted((e.name for e in place.iterdir()), reverse=True) if place.is_dir() else []
            self._folders[folder] = {name.lower(): name for name in found}
        return self._folders[folder]

    def exact(self, path: PurePosixPath) -> PurePosixPath | None:
        """The path with the case of the disk, or None."""
        here = PurePosixPath()
        for part in path.parts:
            names = self.names(here)
            name = part if part in names.values() else names.get(part.lower())
            if name is None:
                return None
            here = here / name
        return here

    def image(self, path: PurePosixPath) -> PurePosixPath | None:
        """The path as `exact` finds it, or else the same name with another image suffix."""
        found = self.exact(path)
        if found is not None:
            return found
        folder = self.exact(path.parent)
        if folder is None:
            return None
        stem = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
        names = self.names(folder)
        for suffix in IMAGE_SUFFIXES:
            name = names.get(stem.lower() + suffix)
            if name is not None:
                return folder / name
        return None

    def list_file(self, folder: PurePosixPath, stem: str) -> PurePosixPath | None:
        """A protocol file, with or without `.txt`."""
        return self.exact(folder / stem) or self.exact(folder / f"{stem}.txt")
