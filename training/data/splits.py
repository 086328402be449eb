"""Splits that the project makes: seeded, written as text, and identified by the SHA-256 of that text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

from faces.files import write_whole
from faces.types import Spectrum
from training.data.lists import entry_path, read_lines
from training.data.records import DataSetError, Fold, Sample

Part = Literal["train", "gallery", "probe"]
T = TypeVar("T")


def drawn(items: Iterable[T], count: int, *, seed: int, salt: str) -> list[T]:
    """Draws `count` items in an order that depends on their text, the seed and the salt alone.

    SHA-256 gives the order, so that no library's random numbers can change a published split.
    """
    keyed = {hashlib.sha256(f"{seed}\0{salt}\0{item}".encode()).digest(): item for item in items}
    return [keyed[key] for key in sorted(keyed)][:count]


def split_text(fold: Fold) -> str:
    """One line for each sample: part, spectrum, subject and path, with tabs between."""
    parts: tuple[tuple[Part, Sequence[Sample]], ...] = (
        ("train", fold.train),
        ("gallery", fold.gallery),
        ("probe", fold.probes),
    )
    return "".join(
        f"{part}\t{s.spectrum.value}\t{s.subject}\t{s.path}\n" for part, samples in parts for s in samples
    )


def signed(fold: Fold) -> Fold:
    """The fold with its digest, the output of `sha256sum` for the written split."""
    return replace(fold, digest=hashlib.sha256(split_text(fold).encode()).hexdigest())


def write_split(fold: Fold, folder: Path) -> Path:
    """Writes `<fold>.tsv`; its SHA-256 is the fold's digest."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{fold.name}.tsv"
    write_whole(path, split_text(fold).encode())
    return path


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a written split."""

    part: Part
    sample: Sample
    where: str


def read_split(path: Path) -> tuple[Entry, ...]:
    """Reads a written split. Raises DataSetError naming a line that is none of a split."""
    entries = []
    for line in read_lines(path):
        fields = line.text.split("\t")
        if len(fields) != 4 or fields[0] not in get_args(Part) or fields[1] not in list(Spectrum):
            raise DataSetError(f"{line.where}: expected part, spectrum, subject and path with tabs between")
        part: Part = next(p for p in get_args(Part) if p == fields[0])
        sample = Sample(entry_path(fields[3], line.where), fields[2], Spectrum(fields[1]))
        entries.append(Entry(part, sample, line.where))
    return tuple(entries)


def fold_of_split(path: Path, *, name: str, known: Iterable[Sample]) -> Fold:
    """The fold that a file of `write_split` describes, with samples as the loader knows them.

    Raises DataSetError if the split names a picture that the data set does not have.
    """
    by_path = {sample.path: sample for sample in known}
    parts: dict[Part, list[Sample]] = {"train": [], "gallery": [], "probe": []}
    for entry in read_split(path):
        sample = by_path.get(entry.sample.path)
        if sample is None:
            raise DataSetError(f"{entry.where}: {entry.sample.path} is not in the data set: is it all there?")
        if (sample.subject, sample.spectrum) != (entry.sample.subject, entry.sample.spectrum):
            raise DataSetError(f"{entry.where}: {sample.path} is subject {sample.subject} in the data set")
        parts[entry.part].append(sample)
    return signed(Fold(name, tuple(parts["train"]), tuple(parts["gallery"]), tuple(parts["probe"])))
