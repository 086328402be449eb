"""Reads labelled photos: a folder with references and probes of each subject, or a CSV.

    FOLDER/<subject>/references/*             what would be enrolled; `vis` is another name for it
    FOLDER/<subject>/probes/*                 what a camera took; `nir` is another name for it
    FOLDER/<subject>/probes/<camera>/*        the same, from a camera that thresholds are wanted for

A CSV has the columns path, subject and role (`reference` or `probe`), and optionally spectrum, masked and
camera. Its paths are relative to its folder. Without a role, a `vis` photo is a reference, an `nir` one a
probe.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from faces.strict import strip_prefix
from faces.types import Role, Spectrum
from service.spaces.threshold_table import CAMERA

MANIFEST = "manifest.csv"
FOLDERS = {
    "references": (Role.REFERENCE, None),
    "probes": (Role.PROBE, None),
    "vis": (Role.REFERENCE, Spectrum.VIS),
    "nir": (Role.PROBE, Spectrum.NIR),
}
# What lies among photos and is none.
OTHER_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx"})
OTHER_SUFFIXES = frozenset({".txt", ".md", ".csv", ".json", ".xml", ".html", ".log", ".pos", ".db"})
MAX_LINES = 1_000_000


class LabelError(ValueError):
    """The folder or the list cannot be used; the text says where and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPhoto:
    """One photo of one subject. `name`: its path below the root, for reports.

    `spectrum` and `masked`: what the label says, None if it says nothing; the service looks for itself.
    """

    subject: str
    path: Path
    name: str
    role: Role
    spectrum: Spectrum | None = None
    masked: bool | None = None
    camera: str | None = None


def read_labelled(source: Path, *, needs: tuple[Role, ...] = tuple(Role)) -> tuple[LabelledPhoto, ...]:
    """Lists the photos of a folder or a CSV in a fixed order, without opening one.

    Raises LabelError, also if there is no photo of a role in `needs`.
    """
    try:
        if source.is_file():
            found = _from_csv(source)
        elif (source / MANIFEST).is_file():
            found = _from_csv(source / MANIFEST)
        else:
            found = tuple(_from_folder(source))
    except OSError as error:
        raise LabelError(f"{source.name} cannot be read: {error.strerror}") from error
    _check(found, needs)
    return found


def with_camera(photos: Sequence[LabelledPhoto], camera: str | None) -> tuple[LabelledPhoto, ...]:
    """The same photos, in which the probes that belong to no camera are of this one."""
    return tuple(
        replace(photo, camera=camera) if photo.role is Role.PROBE and photo.camera is None else photo
        for photo in photos
    )


def _check(photos: Sequence[LabelledPhoto], needs: tuple[Role, ...]) -> None:
    for role in needs:
        if not any(photo.role is role for photo in photos):
            raise LabelError(
                f"there are no {role.value}s: put them into <subject>/{role.value}s/, or name them in a CSV"
                " with the columns path, subject and role"
            )


def _from_folder(root: Path) -> Iterator[LabelledPhoto]:
    for subject in _sorted(root):
        if not subject.is_dir():
            continue
        kinds = [entry for entry in _sorted(subject) if entry.is_dir()]
        if not any(kind.name.lower() in FOLDERS for kind in kinds):
            raise LabelError(
                f"{subject.name} has neither `references` nor `probes`: each subject's folder holds these two"
            )
        for kind in kinds:
            if kind.name.lower() not in FOLDERS:
                raise LabelError(
                    f"{subject.name}/{kind.name} is no folder of labelled photos: rename it to `references`"
                    " or `probes`"
                )
            yield from _of_kind(root, subject.name, kind)


def _of_kind(root: Path, subject: str, kind: Path) -> Iterator[LabelledPhoto]:
    role, spectrum = FOLDERS[kind.name.lower()]
    for entry in _sorted(kind):
        if not entry.is_dir():
            yield _photo(root, entry, subject, role, spectrum)
            continue
        if role is Role.REFERENCE:
            raise LabelError(
                f"{subject}/{kind.name}/{entry.name}: references lie in `{kind.name}` itself; only probes"
                " have a folder for each camera"
            )
        camera = camera_name(entry.name)
        for inner in _sorted(entry):
            if inner.is_dir():
                raise LabelError(
                    f"{subject}/{kind.name}/{entry.name}/{inner.name} lies too deep: photos of a camera lie"
                    " in the camera's folder"
                )
            yield _photo(root, inner, subject, role, spectrum, camera)


def _photo(
    root: Path, path: Path, subject: str, role: Role, spectrum: Spectrum | None, camera: str | None = None
) -> LabelledPhoto:
    return LabelledPhoto(
        subject=subject,
        path=path,
        name=path.relative_to(root).as_posix(),
        role=role,
        spectrum=spectrum,
        camera=camera,
    )


def _sorted(folder: Path) -> list[Path]:
    """Entries by name, without hidden ones and what file managers and people leave among photos."""
    found = []
    for entry in sorted(folder.iterdir()):
        name = entry.name.lower()
        other = name in OTHER_NAMES or (entry.suffix.lower() in OTHER_SUFFIXES and not entry.is_dir())
        if not (name.startswith(".") or other):
            found.append(entry)
    return found


def camera_name(text: str) -> str:
    """Returns the name. Raises LabelError unless the service takes it as `camera`."""
    if not re.fullmatch(CAMERA, text):
        raise LabelError(f"{text!r} is no name of a camera: use up to 64 letters, digits and ._:@-")
    return text


def _empty(given: object) -> object:
    return None if given == "" else given


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    path: str
    subject: str
    role: Annotated[Literal["reference", "gallery", "probe", "none"] | None, BeforeValidator(_empty)] = None
    spectrum: Annotated[Spectrum | None, BeforeValidator(_empty)] = None
    masked: Annotated[bool | None, BeforeValidator(_empty)] = None
    camera: Annotated[str | None, BeforeValidator(_empty)] = None
    # Lists for training have it too; an evaluation uses every line.
    split: str | None = None

    @property
    def side(self) -> Role | None:
        """Reference or probe; None if the line is neither. Raises LabelError if it does not say."""
        if self.role == "none":
            return None
        if self.role is not None:
            return Role.PROBE if self.role == "probe" else Role.REFERENCE
        if self.spectrum is None:
            raise LabelError("it needs a role, `reference` or `probe`")
        return Role.REFERENCE if self.spectrum is Spectrum.VIS else Role.PROBE


def _from_csv(path: Path) -> tuple[LabelledPhoto, ...]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        found, seen = [], dict[str, int]()
        for number, row in enumerate(rows, start=2):
            if number > MAX_LINES:
                raise LabelError(f"{path.name} has more than {MAX_LINES} lines")
            photo = _of_row(path.parent, {name: cell for name, cell in row.items() if cell is not None})
            if photo is None:
                continue
            if photo.name in seen:
                raise LabelError(f"line {number} names the photo of line {seen[photo.name]} again")
            seen[photo.name] = number
            found.append(photo)
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path.name} is no CSV in UTF-8") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "line"
        raise LabelError(f"{path.name}, line {number}: {where}: {strip_prefix(fault['msg'])}") from error
    except LabelError as error:
        raise LabelError(f"{path.name}, line {number}: {error}") from error
    return tuple(found)


def _of_row(root: Path, row: dict[str, str]) -> LabelledPhoto | None:
    line = _Line.model_validate(row)
    role = line.side
    if role is None:
        return None
    if not line.subject:
        raise LabelError("it names no subject")
    place = PurePosixPath(line.path.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or not place.parts:
        raise LabelError("its path must lead to a file below the folder of the CSV")
    return LabelledPhoto(
        subject=line.subject,
        path=root / place,
        name=place.as_posix(),
        role=role,
        spectrum=line.spectrum,
        masked=line.masked,
        camera=None if line.camera is None or role is Role.REFERENCE else camera_name(line.camera),
    )
