"""What every loader returns: samples, folds, the split and role of each sample, and findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from training.data.prepared import Role, Split
from training.data.records import DataSet, DataSetError, Fold, Sample

# Which face of a picture is the subject if the data set gives no eyes.
Choice = Literal["largest", "central"]
# The name of a fold of partial data ends in this, and with it every result.
SUBSET = "-subset"


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact that affects how far a figure can be trusted."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Place:
    """The split and role of a sample, if they are the same in every fold."""

    split: Split = "none"
    role: Role = "none"


NO_PLACE = Place()


class Reader(Protocol):
    """Reads encoded pictures; small enough to send to worker processes."""

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
    """A data set that `prepare` can read: it also provides the bytes of its pictures."""

    @property
    def findings(self) -> Sequence[Finding]: ...

    @property
    def absent(self) -> Sequence[Sample]:
        """Samples of the protocol that the disk lacks; empty unless a subset is allowed."""
        ...

    @property
    def choice(self) -> Choice: ...

    @property
    def aligned_to(self) -> str | None:
        """The alignment of its pictures if they are aligned crops, else None."""
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
    """Problems that a loader finds: errors if strict, else findings for the user."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.findings: list[Finding] = []
        self._absent: dict[PurePosixPath, Sample] = {}

    def note(self, where: str, text: str) -> None:
        """Records a warning."""
        self.findings.append(Finding(where, text))

    def problem(self, where: str, text: str) -> None:
        """Records a problem. Raises DataSetError if strict."""
        if self.strict:
            raise DataSetError(f"{where}: {text} (strict=False uses what is there)")
        self.note(where, text)

    def lacks(self, sample: Sample, where: str, text: str) -> None:
        """Records a missing picture. Raises DataSetError if strict."""
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
    """The split and role of every sample of a set's only fold."""
    places = {sample.path: Place("train") for sample in fold.train}
    places |= {sample.path: Place("test", "gallery") for sample in fold.gallery}
    return places | {sample.path: Place("test", "probe") for sample in fold.probes}


def existing_root(root: Path, name: str) -> Path:
    """Returns the folder. Raises DataSetError if it does not exist."""
    if not root.is_dir():
        raise DataSetError(f"{root.name}: no such folder; give the folder that holds {name}")
    return root
