"""LFW as a data set for `prepare`: photos stay in the tar, the split is fixed."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from faces.types import Spectrum
from training.data.lfw import split_of
from training.data.lists import is_image
from training.data.loaded import Choice, Finding, Place
from training.data.records import DataSetError, Fold, Sample

TAR = "lfw.tar"
NAME = "lfw"
SUBJECTS, PHOTOS = 5749, 13233


@dataclass(frozen=True, slots=True)
class Extent:
    """Offset and size of one photo in the tar, in bytes."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class TarReader:
    """Reads photos by their offsets in the tar, so that every process can read any of them."""

    tar: Path
    extents: dict[PurePosixPath, Extent]

    def read(self, path: PurePosixPath) -> bytes:
        """Raises OSError."""
        extent = self.extents[path]
        with self.tar.open("rb") as stream:
            stream.seek(extent.start)
            return stream.read(extent.size)


@dataclass(frozen=True)
class LfwSet:
    """VIS photos by identity; no folds, because there is no NIR."""

    tar: Path
    extents: dict[PurePosixPath, Extent]
    findings: tuple[Finding, ...]
    absent: tuple[Sample, ...] = ()
    # The subject is in the middle of the photo; a larger face beside it belongs to another person.
    choice: Choice = "central"
    aligned_to: str | None = None
    name: str = NAME

    @property
    def root(self) -> Path:
        return self.tar.parent

    def samples(self) -> Sequence[Sample]:
        return tuple(Sample(path, path.parent.name, Spectrum.VIS) for path in self.extents)

    def folds(self) -> Sequence[Fold]:
        return ()

    def place(self, sample: Sample) -> Place:
        return Place(split_of(sample.subject).value)

    def reader(self) -> TarReader:
        return TarReader(self.tar, self.extents)


def load_lfw(root: Path, *, strict: bool = True) -> LfwSet:
    """Loads `lfw.tar`, or the folder that holds it. Raises DataSetError.

    Members are `lfw/<name>/<photo>`, in the order of their names.
    """
    tar = root / TAR if root.is_dir() else root
    found: dict[PurePosixPath, Extent] = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if member.isfile() and len(path.parts) == 3 and is_image(path.name):
                    found[path] = Extent(member.offset_data, member.size)
    except OSError as error:
        raise DataSetError(f"{tar.name} is not there: give lfw.tar or its folder") from error
    except tarfile.TarError as error:
        raise DataSetError(f"{tar.name} is no plain tar: unpack a compressed one first") from error
    if not found:
        raise DataSetError(f"{tar.name} holds no lfw/<name>/<photo>: is it the LFW archive?")
    return LfwSet(tar, {path: found[path] for path in sorted(found)}, _counts(found, tar.name, strict=strict))


def _counts(found: dict[PurePosixPath, Extent], where: str, *, strict: bool) -> tuple[Finding, ...]:
    subjects = len({path.parent.name for path in found})
    if (subjects, len(found)) == (SUBJECTS, PHOTOS):
        return ()
    text = f"{len(found)} photos of {subjects} identities, LFW has {PHOTOS} of {SUBJECTS}"
    if strict:
        raise DataSetError(f"{where}: {text} (strict=False uses what is there)")
    return (Finding(where, text),)
