"""BUAA-VisNir: `<1..150>/<n>.bmp`, even numbers near-infrared, odd ones visible."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from faces.types import Spectrum
from training.data.eyes import read_eyes
from training.data.lists import Finder, in_order, is_image
from training.data.loaded import SUBSET, Ledger, LoadedSet, existing_root, places_of, unique
from training.data.records import DataSetError, Fold, Sample
from training.data.splits import drawn, fold_of_split, signed

SUBJECTS, TRAIN_SUBJECTS = 150, 50
PER_SPECTRUM = 9

_Shelves = dict[str, dict[Spectrum, list[Sample]]]


def _shelves(finder: Finder, ledger: Ledger) -> _Shelves:
    """Pictures of each subject by spectrum, in the order of their numbers, with their eyes."""
    shelves: _Shelves = {}
    for folder in sorted(finder.names(PurePosixPath()).values(), key=in_order):
        if not folder.isdecimal():
            continue
        subject = str(int(folder))
        if subject in shelves:
            raise DataSetError(f"{folder}: a second folder of subject {subject}; keep one")
        shelf: dict[Spectrum, list[Sample]] = {spectrum: [] for spectrum in Spectrum}
        for name in sorted(filter(is_image, finder.names(PurePosixPath(folder)).values()), key=in_order):
            path = PurePosixPath(folder, name)
            if not path.stem.isdecimal():
                ledger.problem(str(path), "a picture's name is a number here: even NIR, odd VIS; rename it")
                continue
            spectrum = Spectrum.VIS if int(path.stem) % 2 else Spectrum.NIR
            shelf[spectrum].append(Sample(path, subject, spectrum, read_eyes(finder, path, ledger)))
        shelves[subject] = shelf
    if not shelves:
        raise DataSetError("no folder is named by a number: expected 1/1.bmp to 150/18.bmp below the root")
    return shelves


def _check(shelves: _Shelves, ledger: Ledger) -> bool:
    """Whether all pictures exist."""
    if len(shelves) != SUBJECTS:
        missing = next((str(i) for i in range(1, SUBJECTS + 1) if str(i) not in shelves), None)
        first = f"; the first that is missing is {missing}" if missing else ""
        ledger.problem("buaa", f"{len(shelves)} subjects, officially {SUBJECTS}{first}")
    whole = len(shelves) == SUBJECTS
    for subject, shelf in shelves.items():
        for spectrum, samples in shelf.items():
            if len(samples) < PER_SPECTRUM:
                whole = False
                text = f"{len(samples)} {spectrum.name} pictures, {PER_SPECTRUM} are needed; copy them again"
                ledger.problem(f"folder {subject}", text)
            elif len(samples) > PER_SPECTRUM:
                ledger.note(
                    f"folder {subject}", f"{len(samples)} {spectrum.name} pictures, the first 9 are used"
                )
    return whole


def load_buaa(root: Path, *, strict: bool = True, seed: int = 0, split: Path | None = None) -> LoadedSet:
    """One fold: 50 subjects to train on (900 pictures), 100 to test, one VIS picture of each enrolled.

    The seed or an earlier `split` decides the subjects; the enrolled picture is the VIS one with the lowest
    number. Raises DataSetError naming the incomplete folder; `strict=False` uses what exists, with a third
    of the subjects to train on.
    """
    finder, ledger = Finder(existing_root(root, "the folders 1 to 150")), Ledger(strict=strict)
    shelves = _shelves(finder, ledger)
    if split is not None:
        everything = [s for shelf in shelves.values() for samples in shelf.values() for s in samples]
        fold = fold_of_split(split, name="buaa", known=everything)
    else:
        whole = _check(shelves, ledger)
        fold = _drawn_fold(shelves, seed, whole=whole)
    return LoadedSet(
        name="buaa",
        root=root,
        all_samples=unique([fold]),
        all_folds=(fold,),
        findings=tuple(ledger.findings),
        places=places_of(fold),
    )


def _drawn_fold(shelves: _Shelves, seed: int, *, whole: bool) -> Fold:
    # A subject without both spectra gives neither a training pair nor a probe with its reference.
    both = [s for s, shelf in shelves.items() if all(shelf.values())]
    train_count = TRAIN_SUBJECTS if whole else len(both) * TRAIN_SUBJECTS // SUBJECTS
    order = drawn(both, len(both), seed=seed, salt="buaa subjects")
    train, test = sorted(order[:train_count], key=int), sorted(order[train_count:], key=int)
    return signed(
        Fold(
            f"buaa-seed{seed}" + ("" if whole else SUBSET),
            train=tuple(
                s
                for spectrum in (Spectrum.NIR, Spectrum.VIS)
                for i in train
                for s in _first(shelves, i, spectrum)
            ),
            gallery=tuple(shelves[i][Spectrum.VIS][0] for i in test),
            probes=tuple(s for i in test for s in _first(shelves, i, Spectrum.NIR)),
        )
    )


def _first(shelves: _Shelves, subject: str, spectrum: Spectrum) -> list[Sample]:
    return shelves[subject][spectrum][:PER_SPECTRUM]
