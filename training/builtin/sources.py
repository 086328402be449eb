"""Every face photo that the built-in embedder may learn from; none of a subject that is tested on."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.data.lfw import Photo, Split, read_lfw
from training.data.records import DataSetError

# `open`: only photos whose terms allow any use, weights to be sold among them.
Terms = Literal["all", "open"]
OPEN_TERMS = frozenset({"CC0", "CC-BY-4.0"})
COLUMNS = {"file", "identity", "terms", "set"}


@dataclass(frozen=True, slots=True)
class Shot:
    """One photo. `subject`: whose it is; where nobody knows, the photo's own name."""

    photo: Photo
    subject: str


def lfw_shots(tar: Path) -> Iterator[Shot]:
    """Every photo of LFW's training identities. Raises FileNotFoundError, ValueError."""
    for identity in read_lfw(tar, frozenset({Split.TRAIN})):
        for photo in identity.photos:
            yield Shot(photo, identity.name)


def extra_shots(archive: Path, *, terms: Terms) -> Iterator[Shot]:
    """Photos of nobody known. The labelled ones are left out: they are tested on, group by group.

    Raises DataSetError where the archive has no manifest or misses what it lists.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = {Path(name).name: name for name in opened.namelist()}
            for row in _manifest(opened, names, archive.name):
                if row["identity"] or (terms == "open" and row["terms"] not in OPEN_TERMS):
                    continue
                data = opened.read(names[row["file"]])
                yield Shot(Photo(f"{archive.stem}/{row['file']}", data), row["file"])
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise DataSetError(f"{archive.name}: {error}") from error


def _manifest(opened: zipfile.ZipFile, names: dict[str, str], archive: str) -> list[dict[str, str]]:
    found = [name for short, name in names.items() if short.endswith(".csv")]
    if len(found) != 1:
        raise DataSetError(f"{archive} holds {len(found)} lists (.csv), not one")
    rows = list(csv.DictReader(io.TextIOWrapper(opened.open(found[0]), encoding="utf-8", newline="")))
    missing = COLUMNS - set(rows[0] if rows else ())
    if missing:
        raise DataSetError(f"{archive}: its list has no column {min(missing)!r}")
    return rows
