"""Reads every photo that the matcher is trained on, selected by, or calibrated with."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faces.types import Pixels, Point, Spectrum
from training.data.lfw import Split, read_lfw, split_of
from training.data.prepared import read_prepared
from training.data.records import DataSetError
from training.matcher.people import Part, part_of_named, part_of_single

# At most this many photos of one person: otherwise a few celebrities would be a tenth of all.
MOST_PHOTOS = 40
FIVE_MORE = tuple((f"x{i}", f"y{i}") for i in range(1, 6))
FIVE_EXTRA = tuple((f"{name}_x", f"{name}_y") for name in ("reye", "leye", "nose", "rmouth", "lmouth"))
# Terms that allow any use of a network trained on the photos.
OPEN_TERMS = frozenset({"CC0", "CC-BY-4.0", "MIT"})
RENDERED = "rendered"


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One photo. `subject`: whose it is, unique over all archives; `landmarks`: five points in its pixels,
    None where they have to be found; `masked`: a real mask is worn; `named`: somebody says whose it is."""

    source: str
    subject: str
    of_set: str
    group: str
    terms: str
    part: Part
    masked: bool
    pixels: Pixels
    landmarks: tuple[Point, ...] | None = None
    named: bool = True
    spectrum: Spectrum = Spectrum.VIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Archives:
    """Where the photos are; None leaves a set out."""

    lfw: Path
    more: Path | None = None
    extra: Path | None = None
    real_masks: Path | None = None
    rendered: Path | None = None


def shots(archives: Archives) -> Iterator[Shot]:
    """Every photo that is not a test subject's, set by set. Raises DataSetError."""
    yield from lfw_shots(archives.lfw)
    if archives.real_masks is not None:
        yield from real_mask_shots(archives.real_masks)
    if archives.more is not None:
        yield from more_shots(archives.more)
    if archives.extra is not None:
        yield from extra_shots(archives.extra)
    if archives.rendered is not None:
        yield from rendered_shots(archives.rendered)


def rendered_shots(folder: Path) -> Iterator[Shot]:
    """Training subjects of `training rendered-family`: visible references, NIR probes to show as they are.

    They are real geometry under real NIR light, which no transform of a photo has.
    """
    prepared = read_prepared(folder)
    for row in prepared.rows:
        if row.split == "train":
            yield Shot(
                f"{RENDERED}/{row.source}",
                f"{RENDERED}/{row.subject}",
                RENDERED,
                RENDERED,
                "MIT",
                "train",
                row.masked,
                decoded((folder / row.source).read_bytes(), row.source),
                row.landmarks,
                spectrum=row.spectrum,
            )


def lfw_shots(tar: Path) -> Iterator[Shot]:
    """LFW's training and validation identities."""
    for identity in read_lfw(tar, frozenset({Split.TRAIN, Split.VALIDATION})):
        subject = f"lfw/{identity.name}"
        part: Part = "train"
        if len(identity.photos) == 1:
            part = part_of_single(identity.name, "lfw")
        from_split = _lfw_part(identity.name, part)
        for photo in identity.photos[:MOST_PHOTOS]:
            yield Shot(
                photo.name,
                subject,
                "lfw",
                "",
                "LFW-research",
                from_split,
                False,
                decoded(photo.data, photo.name),
            )


def _lfw_part(name: str, part: Part) -> Part:
    return part if split_of(name) is Split.TRAIN else "validation"


def real_mask_shots(archive: Path) -> Iterator[Shot]:
    """`real_masks.zip` without its test people; the faces have to be found."""
    with OpenArchive(archive) as opened:
        for row in opened.rows:
            if row["split"] == "test":
                continue
            part: Part = "train" if row["split"] == "train" else "validation"
            yield Shot(
                f"real_masks/{row['path']}",
                f"real/{row['subject']}",
                row["set"],
                row["group"],
                row["terms"],
                part,
                row["masked"] == "1",
                opened.pixels(row["path"]),
            )


def more_shots(archive: Path) -> Iterator[Shot]:
    """`faces_more.zip`: aligned faces in a frame with a border."""
    with OpenArchive(archive) as opened:
        photos = Counter(row["subject"] for row in opened.rows if row["subject"])
        taken: Counter[str] = Counter()
        for row in opened.rows:
            name = row["subject"] or row["path"]
            if photos[row["subject"]] > 1 and row["subject"]:
                part = part_of_named(row["subject"])
                taken[name] += 1
                if taken[name] > MOST_PHOTOS:
                    continue
            else:
                part = part_of_single(name, row["set"])
            yield Shot(
                f"faces_more/{row['path']}",
                f"more/{name}",
                row["set"],
                row["group"],
                row["terms"],
                part,
                False,
                opened.pixels(row["path"]),
                _points(row, FIVE_MORE),
                named=bool(row["subject"]),
            )


def extra_shots(archive: Path) -> Iterator[Shot]:
    """`faces_extra.zip` without whoever has a name there: those are test subjects."""
    with OpenArchive(archive) as opened:
        for row in opened.rows:
            if not row["identity"]:
                yield Shot(
                    f"faces_extra/{row['file']}",
                    f"extra/{row['file']}",
                    row["set"],
                    row["group"],
                    row["terms"],
                    part_of_single(row["file"], row["set"]),
                    False,
                    opened.pixels(row["file"]),
                    _points(row, FIVE_EXTRA),
                    named=False,
                )


def _points(row: dict[str, str], columns: tuple[tuple[str, str], ...]) -> tuple[Point, ...]:
    return tuple((float(row[x]), float(row[y])) for x, y in columns)


def decoded(data: bytes, name: str) -> Pixels:
    """uint8 [h, w, 3], blue-green-red. Raises DataSetError."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataSetError(f"{name} cannot be decoded")
    return np.asarray(pixels, np.uint8)


class OpenArchive:
    """A zip with one list (.csv) and the photos that it names beside it."""

    def __init__(self, path: Path) -> None:
        """Raises DataSetError where there is no such archive, or it has not one list."""
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataSetError(f"{path.name} cannot be read: {error}") from error
        lists = [name for name in self._zip.namelist() if name.endswith(".csv")]
        if len(lists) != 1:
            raise DataSetError(f"{path.name} holds {len(lists)} lists (.csv), not one")
        self._folder = lists[0].rpartition("/")[0]
        with self._zip.open(lists[0]) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
            self.rows = list(csv.DictReader(text))

    def __enter__(self) -> OpenArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def pixels(self, file: str) -> Pixels:
        return decoded(self.data(file), file)

    def data(self, file: str) -> bytes:
        """The file as it is. Raises DataSetError."""
        try:
            return self._zip.read(f"{self._folder}/{file}" if self._folder else file)
        except KeyError as error:
            raise DataSetError(f"the archive's list names {file}, which is not there") from error
