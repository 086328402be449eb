"""A user's own pairs: `root/<subject>/{vis,nir}/*`, or a CSV manifest beside the pictures."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from faces.strict import strip_prefix
from faces.types import Spectrum
from training.data.eyes import read_eyes
from training.data.lists import Finder, entry_path, in_order, is_image
from training.data.loaded import SUBSET, Ledger, LoadedSet, Place, existing_root, places_of
from training.data.prepared import Role, Split
from training.data.records import DataSetError, Fold, Sample
from training.data.splits import drawn, fold_of_split, signed

MANIFEST = "manifest.csv"
REQUIRED, OPTIONAL = ("path", "subject", "spectrum"), ("split", "role")


class Entry(BaseModel):
    """One line of a manifest. `path` is relative to the manifest's folder, with either slash."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    path: str
    subject: str
    spectrum: Spectrum
    split: Split = "none"
    role: Role = "none"


@dataclass(frozen=True, slots=True)
class _Named:
    """A sample, its split and role in the manifest, and its line."""

    sample: Sample
    place: Place


def load_generic(
    root: Path,
    *,
    strict: bool = True,
    seed: int = 0,
    test_share: float = 0.5,
    split: Path | None = None,
) -> LoadedSet:
    """Loads `manifest.csv` if it exists, else the folders with a seeded split by subject.

    Folders: the seed splits the subjects with both spectra; all VIS pictures of a test subject are its
    gallery, all NIR ones its probes. Raises DataSetError naming the file, line and remedy.
    """
    if not 0 < test_share < 1:
        raise DataSetError(f"test_share lies between 0 and 1, got {test_share}")
    existing_root(root, f"{MANIFEST} or <subject>/vis and <subject>/nir")
    if (root / MANIFEST).is_file():
        return _from_manifest(root, strict=strict)
    return _from_folders(root, strict=strict, seed=seed, test_share=test_share, split=split)


def _from_folders(root: Path, *, strict: bool, seed: int, test_share: float, split: Path | None) -> LoadedSet:
    ledger = Ledger(strict=strict)
    finder = Finder(root)
    shelves: dict[str, dict[Spectrum, list[Sample]]] = {}
    for subject in sorted(finder.names(PurePosixPath()).values(), key=in_order):
        shelf: dict[Spectrum, list[Sample]] = {}
        for spectrum in Spectrum:
            folder = finder.exact(PurePosixPath(subject, spectrum.value))
            names = finder.names(folder).values() if folder is not None else ()
            shelf[spectrum] = [
                Sample(folder / name, subject, spectrum, read_eyes(finder, folder / name, ledger))
                for name in sorted(filter(is_image, names), key=in_order)
                if folder is not None
            ]
        if any(shelf.values()):
            shelves[subject] = shelf
    if not shelves:
        raise DataSetError(
            f"no <subject>/vis or <subject>/nir with pictures below {root.name}, and no {MANIFEST}"
        )
    whole = True
    for subject, shelf in shelves.items():
        if not shelf[Spectrum.VIS]:
            whole = False
            ledger.problem(f"{subject}/vis", "no VIS picture, so nothing to enrol; add one")
        if not shelf[Spectrum.NIR]:
            ledger.note(f"{subject}/nir", "no NIR picture: the subject is enrolled only, where it is tested")
    everything = tuple(s for shelf in shelves.values() for samples in shelf.values() for s in samples)
    if split is not None:
        fold = fold_of_split(split, name="generic", known=everything)
    else:
        fold = _drawn_fold(shelves, seed=seed, test_share=test_share, whole=whole)
    return LoadedSet(
        name="generic",
        root=root,
        all_samples=everything,
        all_folds=(fold,),
        findings=tuple(ledger.findings),
        places=places_of(fold),
    )


def _drawn_fold(
    shelves: dict[str, dict[Spectrum, list[Sample]]], *, seed: int, test_share: float, whole: bool
) -> Fold:
    usable = [subject for subject, shelf in shelves.items() if shelf[Spectrum.VIS]]
    order = drawn(usable, len(usable), seed=seed, salt="generic subjects")
    tested = set(order[: round(len(order) * test_share)])
    train = [s for s in usable if s not in tested]
    test = [s for s in usable if s in tested]
    return signed(
        Fold(
            f"generic-seed{seed}" + ("" if whole else SUBSET),
            train=tuple(
                x for spectrum in (Spectrum.NIR, Spectrum.VIS) for i in train for x in shelves[i][spectrum]
            ),
            gallery=tuple(x for i in test for x in shelves[i][Spectrum.VIS]),
            probes=tuple(x for i in test for x in shelves[i][Spectrum.NIR]),
        )
    )


def _read_manifest(root: Path) -> list[tuple[Entry, str]]:
    """Entries with their lines. Columns come in any order; an unknown column is an error."""
    try:
        text = (root / MANIFEST).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataSetError(f"{MANIFEST} is not UTF-8: save it as UTF-8 text") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    columns = [name.strip().lower() for name in reader.fieldnames or ()]
    unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
    missing = [name for name in REQUIRED if name not in columns]
    if unknown or missing:
        wrong = f"unknown column {unknown[0]!r}" if unknown else f"no column {missing[0]!r}"
        raise DataSetError(f"{MANIFEST}, line 1: {wrong}; columns are {','.join(REQUIRED + OPTIONAL)}")
    reader.fieldnames = columns
    entries = []
    for row in reader:
        where = f"{MANIFEST}, line {reader.line_num}"
        given = {key: value.strip() for key, value in row.items() if isinstance(value, str) and value.strip()}
        if not given:
            continue
        if None in row:
            raise DataSetError(f"{where}: more fields than columns; quote a path with commas")
        words = {key: v.lower() if key in ("spectrum", "split", "role") else v for key, v in given.items()}
        try:
            entries.append((Entry.model_validate(words), where))
        except ValidationError as error:
            first = error.errors()[0]
            raise DataSetError(f"{where}: {first['loc'][0]}: {strip_prefix(first['msg'])}") from error
    if not entries:
        raise DataSetError(f"{MANIFEST} names no picture")
    return entries


def _from_manifest(root: Path, *, strict: bool) -> LoadedSet:
    ledger, finder = Ledger(strict=strict), Finder(root)
    named: dict[PurePosixPath, _Named] = {}
    for entry, where in _read_manifest(root):
        asked = entry_path(entry.path, where)
        path = finder.image(asked)
        if path is None:
            text = f"{asked} is not there, nor with another ending; copy it or take the line out"
            ledger.lacks(Sample(asked, entry.subject, entry.spectrum), where, text)
            continue
        if path in named:
            raise DataSetError(f"{where}: {path} is named before; a picture has one line")
        sample = Sample(path, entry.subject, entry.spectrum, read_eyes(finder, path, ledger))
        named[path] = _Named(sample, Place(entry.split, entry.role))
    if not named:
        raise DataSetError(f"{MANIFEST} names no picture that is there")
    folds = [f for split in ("test", "validation") if (f := _manifest_fold(named, split, ledger)) is not None]
    return LoadedSet(
        name="generic",
        root=root,
        all_samples=tuple(n.sample for n in named.values()),
        all_folds=tuple(folds),
        findings=tuple(ledger.findings),
        absent=ledger.absent,
        places={path: n.place for path, n in named.items()},
    )


def _manifest_fold(
    named: dict[PurePosixPath, _Named], split: Literal["test", "validation"], ledger: Ledger
) -> Fold | None:
    """The fold that tests on this split; none if the split has no probes."""
    parts: dict[Role, list[Sample]] = defaultdict(list)
    for n in named.values():
        if n.place.split == split:
            parts[n.place.role].append(n.sample)
    enrolled = {s.subject for s in parts["gallery"]}
    for subject in sorted({s.subject for s in parts["probe"]} - enrolled):
        ledger.problem(
            MANIFEST, f"subject {subject} has {split} probes but no {split} picture with role gallery"
        )
    probes = tuple(s for s in parts["probe"] if s.subject in enrolled)
    if not probes:
        return None
    train = tuple(n.sample for n in named.values() if n.place.split == "train")
    whole = not ledger.absent and len(probes) == len(parts["probe"])
    name = f"generic-{split}" + ("" if whole else SUBSET)
    return signed(Fold(name, train, tuple(parts["gallery"]), probes))
