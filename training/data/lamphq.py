"""LAMP-HQ: lists of `path label` in `Protocol(s)/{train,test}/`."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from faces.types import Spectrum
from training.data.lists import Finder, Line, entry_path, is_image, read_lines
from training.data.loaded import SUBSET, Ledger, LoadedSet, existing_root, unique
from training.data.records import DataSetError, Fold, Sample

PROTOCOLS = ("Protocols", "Protocol")
TRAIN_LIST = re.compile(r"^train_nir(\d+)(?:\.txt)?$", re.IGNORECASE)
ENTRY = re.compile(r"^(.+?)[\s,]+(\S+)$")


class _Reader:
    def __init__(self, root: Path, *, strict: bool) -> None:
        self.finder = Finder(root)
        self.ledger = Ledger(strict=strict)
        self.left_out = 0
        self._known: dict[PurePosixPath, Sample | None] = {}
        self._first_named: dict[PurePosixPath, str] = {}
        self.lists = self._protocols()

    def _protocols(self) -> PurePosixPath:
        for name in PROTOCOLS:
            found = self.finder.exact(PurePosixPath(name))
            if found is not None:
                return found
        raise DataSetError("neither Protocols nor Protocol is below the root: copy the data set's own folder")

    def numbers(self) -> list[int]:
        """The folds that have a training list."""
        train = self.finder.exact(self.lists / "train")
        names = self.finder.names(train).values() if train is not None else ()
        found = sorted({int(m.group(1)) for name in names if (m := TRAIN_LIST.match(name))})
        if not found:
            raise DataSetError(f"{self.lists}/train holds no train_nir1.txt: copy the data set's own folder")
        return found

    def read(self, stem: str, spectrum: Spectrum) -> tuple[Sample, ...]:
        found = self.finder.list_file(self.lists, stem)
        if found is None:
            raise DataSetError(f"{self.lists}/{stem}.txt is missing: copy the data set's own protocol folder")
        samples: dict[PurePosixPath, Sample] = {}
        for position, line in enumerate(read_lines(self.finder.root / found)):
            path, label = self._entry(line, first=position == 0)
            if path is None:
                continue
            sample = self._sample(path, label, spectrum, line)
            if sample is None:
                self.left_out += 1
                continue
            if sample.path in samples:
                self.ledger.note(line.where, f"{sample.path} is named twice; it is used once")
            samples[sample.path] = sample
        if not samples:
            raise DataSetError(f"{found.name} names no picture that is there")
        return tuple(samples.values())

    def _entry(self, line: Line, *, first: bool) -> tuple[PurePosixPath | None, str]:
        """Path and label; no path for a header, which only the first line may be."""
        match = ENTRY.match(line.text)
        if match is not None and is_image(match.group(1).replace("\\", "/").rsplit("/", 1)[-1]):
            return entry_path(match.group(1), line.where), match.group(2)
        if first:
            return None, ""
        raise DataSetError(f"{line.where}: expected `path label`, got {line.text!r}")

    def _sample(self, path: PurePosixPath, label: str, spectrum: Spectrum, line: Line) -> Sample | None:
        if path not in self._known:
            found = self.finder.image(path)
            if found is None:
                text = f"{path} is not there, nor with another ending; copy it"
                self.ledger.lacks(Sample(path, label, spectrum), line.where, text)
            self._known[path] = Sample(found, label, spectrum) if found is not None else None
            self._first_named[path] = line.where
        sample = self._known[path]
        if sample is not None and (sample.subject, sample.spectrum) != (label, spectrum):
            raise DataSetError(
                f"{line.where}: {path} is {spectrum.name} of subject {label}, but {sample.spectrum.name} "
                f"of subject {sample.subject} in {self._first_named[path]}; labels must mean one subject"
            )
        return sample


def _fold(reader: _Reader, k: int) -> Fold:
    reader.left_out = 0
    train = reader.read(f"train/train_nir{k}", Spectrum.NIR) + reader.read(
        f"train/train_vis{k}", Spectrum.VIS
    )
    gallery = reader.read(f"test/gallery_vis{k}", Spectrum.VIS)
    probes = reader.read(f"test/probe_nir{k}", Spectrum.NIR)
    enrolled = {sample.subject for sample in gallery}
    for subject in sorted({sample.subject for sample in probes} - enrolled):
        reader.ledger.problem(f"probe_nir{k}", f"subject {subject} has probes but no gallery picture")
    kept = tuple(sample for sample in probes if sample.subject in enrolled)
    whole = not reader.left_out and len(kept) == len(probes)
    return Fold(f"lamphq-fold{k}" + ("" if whole else SUBSET), train, gallery, kept)


def load_lamphq(root: Path, *, strict: bool = True) -> LoadedSet:
    """Every fold that has lists. The loader skips a header line and tolerates wrong suffixes and cases.

    Raises DataSetError naming the list, its line and the picture that is missing; with
    `strict=False` the folds hold what exists.
    """
    reader = _Reader(existing_root(root, "Protocols and the pictures"), strict=strict)
    folds = tuple(_fold(reader, k) for k in reader.numbers())
    return LoadedSet(
        name="lamphq",
        root=root,
        all_samples=unique(folds),
        all_folds=folds,
        findings=tuple(reader.ledger.findings),
        absent=reader.ledger.absent,
    )
