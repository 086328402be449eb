"""The contents of a data set before any pixel is read: samples, and folds of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from faces.types import Point, Spectrum


class DataSetError(ValueError):
    """A data set on disk differs from its protocol.

    The text names the file, the protocol's line if there is one, and what to do.
    """


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file. `path`: relative to the data set's root, as the disk spells it.

    `eyes`: left and right eye of the picture in pixels, if the data set gives them.
    """

    path: PurePosixPath
    subject: str
    spectrum: Spectrum
    eyes: tuple[Point, Point] | None = None


@dataclass(frozen=True, slots=True)
class Fold:
    """One split of a protocol: training samples, gallery and probes.

    No subject of `train` is in `gallery` or `probes`; every probe has its subject in the gallery.
    `digest`: SHA-256 of the lists, printed with results of a split that the project made itself.
    """

    name: str
    train: tuple[Sample, ...]
    gallery: tuple[Sample, ...]
    probes: tuple[Sample, ...]
    digest: str | None = None

    def __post_init__(self) -> None:
        held_out = {s.subject for s in self.gallery} | {s.subject for s in self.probes}
        both = held_out & {s.subject for s in self.train}
        if both:
            raise DataSetError(f"fold {self.name}: subject {min(both)} is both trained on and tested on")
        orphans = {s.subject for s in self.probes} - {s.subject for s in self.gallery}
        if orphans:
            raise DataSetError(f"fold {self.name}: subject {min(orphans)} has probes but no gallery image")


class DataSet(Protocol):
    """A data set on disk. Its loader raises DataSetError; it never skips silently."""

    @property
    def name(self) -> str: ...

    @property
    def root(self) -> Path: ...

    def samples(self) -> Sequence[Sample]:
        """Every image that any fold names, each once, in a fixed order."""
        ...

    def folds(self) -> Sequence[Fold]:
        """The protocol's folds, in order."""
        ...
