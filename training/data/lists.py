"""Reading the lists and folders of data sets as they are found: copied by hand, from Windows, twice."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from training.data.records import DataSetError

# Tried in this order where a list names the wrong one.
IMAGE_SUFFIXES = (".bmp", ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list that says something. `where`: list and number, for messages."""

    text: str
    where: str


def read_lines(path: Path) -> tuple[Line, ...]:
    """Lines without their ends, a byte order mark, or blank ones. Raises DataSetError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataSetError(f"{path.name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataSetError(f"{path.name} is not UTF-8: save it as UTF-8 text") from error
    lines = (Line(line.strip(), f"{path.name}, line {n}") for n, line in enumerate(text.splitlines(), 1))
    return tuple(line for line in lines if line.text)


def entry_path(text: str, where: str) -> PurePosixPath:
    """A path as a list writes it, with either slash. Raises DataSetError where it leaves the root."""
    path = PurePosixPath(text.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"^[A-Za-z]:", text) or not path.parts:
        raise DataSetError(f"{where}: {text!r} is no path below the data set's root")
    return path


def is_image(name: str) -> bool:
    """By the name's end, in any case; hidden files are none."""
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def in_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key by which 2 comes before 10."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part)


@dataclass
class Finder:
    """Finds files below a root whatever the case of their names; each folder is listed once."""

    root: Path
    _folders: dict[PurePosixPath, dict[str, str]] = field(default_factory=dict)

    def names(self, folder: PurePosixPath) -> dict[str, str]:
        """Lower-case name -> name on disk; empty where there is no such folder."""
        if folder not in self._folders:
            place = self.root / folder
            # Sorted, so that of two names that differ in case only the same one wins everywhere.
            found = sorted((e.name for e in place.iterdir()), reverse=True) if place.is_dir() else []
            self._folders[folder] = {name.lower(): name for name in found}
        return self._folders[folder]

    def exact(self, path: PurePosixPath) -> PurePosixPath | None:
        """The path as it is on disk, or None."""
        here = PurePosixPath()
        for part in path.parts:
            names = self.names(here)
            name = part if part in names.values() else names.get(part.lower())
            if name is None:
                return None
            here = here / name
        return here

    def image(self, path: PurePosixPath) -> PurePosixPath | None:
        """The same, and where that fails the same name with another image's ending."""
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
