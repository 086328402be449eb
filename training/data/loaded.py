"""What every loader hands out: samples, folds, where each sample stands, and what was noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from training.data.prepared import Role, Split
from training.data.records import DataSet, DataSetError, Fold, Sample

# Which face of a picture is the subject, where the data set gives no eyes.
Choice = Literal["largest", "central"]
# A fold of a part of the data says so in its name, so that every result does.
SUBSET = "-subset"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know before a number is trusted."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Place:
    """The part a sample plays, where it plays the same one in every fold."""

    split: Split = "none"
    role: Role = "none"


NO_PLACE = Place()


class Reader(Protocol):
    """Gives encoded pictures; small enough to be sent to worker processes."""

    def read(self, path: PurePosixPath) -> bytes:
        """Raises OSError."""
        ...


@dataclass(frozen=True, slots=True)
class FileReader:
    """Pictures as files below a folder."""

    root: Path

    def read(self, path: PurePosixPath) -> bytes:
        return (self.root / path).read_bytes()


class Source(DataSet, Protocol):
    """A data set that `prepare` can read: it also gives the bytes of its pictures."""

    @property
    def findings(self) -> Sequence[Finding]: ...

    @property
    def absent(self) -> Sequence[Sample]:
        """What the protocol names and the disk lacks; empty unless a subset was asked for."""
        ...

    @property
    def choice(self) -> Choice: ...

    @property
    def aligned_to(self) -> str | None:
        """The template that its pictures are aligned to already, if any."""
        ...

    def place(self, sample: Sample) -> Place: ...

    def reader(self) -> Reader: ...


@dataclass(frozen=True)
class LoadedSet:
    """A data set of plain files."""

    name: str
    root: Path
    all_samples: tuple[Sample, ...]
    all_folds: tuple[Fold, ...]
    findings: tuple[Finding, ...] = ()
    absent: tuple[Sample, ...] = ()
    places: Mapping[PurePosixPath, Place] = field(default_factory=dict)
    everywhere: Place = NO_PLACE
    choice: Choice = "largest"
    aligned_to: str | None = None

    def samples(self) -> Sequence[Sample]:
        return self.all_samples

    def folds(self) -> Sequence[Fold]:
        return self.all_folds

    def place(self, sample: Sample) -> Place:
        return self.places.get(sample.path, self.everywhere)

    def reader(self) -> Reader:
        return FileReader(self.root)


class Ledger:
    """What a loader finds wrong: an error at once when strict, else written down for the user."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.findings: list[Finding] = []
        self._absent: dict[PurePosixPath, Sample] = {}

    def note(self, where: str, text: str) -> None:
        """A warning that stops nobody."""
        self.findings.append(Finding(where, text))

    def problem(self, where: str, text: str) -> None:
        """Raises DataSetError when strict."""
        if self.strict:
            raise DataSetError(f"{where}: {text} (strict=False uses what is there)")
        self.note(where, text)

    def lacks(self, sample: Sample, where: str, text: str) -> None:
        """A picture that is not there. Raises DataSetError when strict."""
        self.problem(where, text)
        self._absent.setdefault(sample.path, sample)

    @property
    def absent(self) -> tuple[Sample, ...]:
        return tuple(self._absent.values())


def unique(folds: Iterable[Fold]) -> tuple[Sample, ...]:
    """Every sample of the folds once, in the order they are named."""
    seen: dict[PurePosixPath, Sample] = {}
    for fold in folds:
        for sample in (*fold.train, *fold.gallery, *fold.probes):
            seen.setdefault(sample.path, sample)
    return tuple(seen.values())


def places_of(fold: Fold) -> dict[PurePosixPath, Place]:
    """Where the samples of a set's only fold stand."""
    places = {sample.path: Place("train") for sample in fold.train}
    places |= {sample.path: Place("test", "gallery") for sample in fold.gallery}
    return places | {sample.path: Place("test", "probe") for sample in fold.probes}


def existing_root(root: Path, name: str) -> Path:
    """Raises DataSetError where the folder is not there."""
    if not root.is_dir():
        raise DataSetError(f"{root.name}: no such folder; give the folder that holds {name}")
    return root
