"""Oulu-CASIA NIR&VIS: six expressions of 80 subjects under three lights, as folders or flat names."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path, PurePosixPath

from faces.types import Spectrum
from training.data.lists import Finder, in_order, is_image
from training.data.loaded import SUBSET, Ledger, LoadedSet, existing_root, places_of, unique
from training.data.records import DataSetError, Fold, Sample
from training.data.splits import drawn, fold_of_split, signed

EXPRESSIONS = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise")
LIGHTS = ("Strong", "Weak", "Dark")
PER_EXPRESSION = 8
TRAIN_SUBJECTS = TEST_SUBJECTS = 20

ORIGINALS = PurePosixPath("B_OriginalImg")
SPECTRA = {"ni": Spectrum.NIR, "vl": Spectrum.VIS}
FLAT = re.compile(r"^(NI|VL)_([A-Za-z]+)_(P\d+)_([A-Za-z]+)_(\d+)\.\w+$", re.IGNORECASE)

# Pictures by subject, spectrum and expression.
_Shelves = dict[str, dict[tuple[Spectrum, str], list[Sample]]]


def _shelves(finder: Finder, light: str) -> _Shelves:
    """Every picture under one light; an unknown name is an error."""
    shelves: _Shelves = defaultdict(lambda: defaultdict(list))
    base = finder.exact(ORIGINALS) or PurePosixPath()
    folders = {code: finder.exact(base / code / light) for code in SPECTRA}
    if any(folders.values()):
        for code, folder in folders.items():
            if folder is not None:
                _walk(finder, folder, SPECTRA[code], shelves)
    else:
        _flat(finder, base, light, shelves)
    if not shelves:
        raise DataSetError(
            f"no picture under {light} light: expected {ORIGINALS}/NI/{light}/P001/Anger/000.jpeg "
            f"or NI_{light}_P001_Anger_000.jpeg below the root"
        )
    return shelves


def _expression(name: str, where: str) -> str:
    for expression in EXPRESSIONS:
        if expression.lower() == name.lower():
            return expression
    raise DataSetError(f"{where}: {name!r} is none of {', '.join(EXPRESSIONS)}")


def _walk(finder: Finder, folder: PurePosixPath, spectrum: Spectrum, shelves: _Shelves) -> None:
    for subject in sorted(n for n in finder.names(folder).values() if re.fullmatch(r"[Pp]\d+", n)):
        for name in sorted(n for n in finder.names(folder / subject).values() if not n.startswith(".")):
            place = folder / subject / name
            if (finder.root / place).is_file():
                continue
            expression = _expression(name, str(place))
            files = sorted(filter(is_image, finder.names(place).values()), key=in_order)
            shelves[subject.upper()][spectrum, expression] += [
                Sample(place / file, subject.upper(), spectrum) for file in files
            ]


def _flat(finder: Finder, base: PurePosixPath, light: str, shelves: _Shelves) -> None:
    """Flat names, in the root itself or in one folder for each spectrum."""
    for folder in (base, *(f for code in SPECTRA if (f := finder.exact(base / code)) is not None)):
        for name in sorted(filter(is_image, finder.names(folder).values()), key=in_order):
            found = FLAT.match(name)
            if found is None:
                raise DataSetError(f"{folder / name}: expected a name like NI_Strong_P001_Disgust_001.jpeg")
            code, lit, subject, expression, _ = found.groups()
            if lit.lower() == light.lower():
                spectrum = SPECTRA[code.lower()]
                key = (spectrum, _expression(expression, name))
                shelves[subject.upper()][key].append(Sample(folder / name, subject.upper(), spectrum))


def load_oulu(
    root: Path,
    *,
    strict: bool = True,
    seed: int = 0,
    light: str = "Strong",
    split: Path | None = None,
) -> LoadedSet:
    """One fold: 20 subjects to train on, 20 others to test; 8 pictures of each expression and spectrum.

    No official list is public: the seed, or an earlier `split`, decides subjects and pictures.
    All VIS pictures of a test subject are its gallery, all its NIR ones are probes.
    Raises DataSetError naming the folder with too few pictures; `strict=False` uses what exists.
    """
    if light not in LIGHTS:
        raise DataSetError(f"{light!r} is no light of this data set: {', '.join(LIGHTS)}")
    shelves = _shelves(Finder(existing_root(root, str(ORIGINALS))), light)
    ledger = Ledger(strict=strict)
    if split is not None:
        everything = [s for shelf in shelves.values() for samples in shelf.values() for s in samples]
        fold = fold_of_split(split, name="oulu", known=everything)
    else:
        fold = _drawn_fold(shelves, ledger, seed, light)
    return LoadedSet(
        name="oulu",
        root=root,
        all_samples=unique([fold]),
        all_folds=(fold,),
        findings=tuple(ledger.findings),
        places=places_of(fold),
    )


def _drawn_fold(shelves: _Shelves, ledger: Ledger, seed: int, light: str) -> Fold:
    complete = [subject for subject in sorted(shelves) if _is_complete(shelves, subject)]
    wanted = TRAIN_SUBJECTS + TEST_SUBJECTS
    usable = complete
    if len(complete) < wanted:
        short = next((s for s in sorted(shelves) if s not in complete), None)
        example = f"; {_shortage(shelves, short)}" if short else ""
        ledger.problem(
            "oulu",
            f"{len(complete)} subjects have {PER_EXPRESSION} pictures of each expression in both spectra, "
            f"{wanted} are needed{example}",
        )
        usable = [s for s in sorted(shelves) if {spectrum for spectrum, _ in shelves[s]} == set(Spectrum)]
    elif len(complete) < len(shelves):
        left_out = ", ".join(s for s in sorted(shelves) if s not in complete)
        ledger.note("oulu", f"not drawn from, because pictures are missing: {left_out}")
    subjects = drawn(usable, wanted, seed=seed, salt="oulu subjects")
    middle = len(subjects) // 2
    train, test = sorted(subjects[:middle]), sorted(subjects[middle:])
    name = f"oulu-{light.lower()}-seed{seed}" + ("" if len(complete) >= wanted else SUBSET)
    return signed(
        Fold(
            name,
            train=_pictures(shelves, train, Spectrum.NIR, seed)
            + _pictures(shelves, train, Spectrum.VIS, seed),
            gallery=_pictures(shelves, test, Spectrum.VIS, seed),
            probes=_pictures(shelves, test, Spectrum.NIR, seed),
        )
    )


def _is_complete(shelves: _Shelves, subject: str) -> bool:
    shelf = shelves[subject]
    return all(len(shelf.get((s, e), ())) >= PER_EXPRESSION for s in Spectrum for e in EXPRESSIONS)


def _shortage(shelves: _Shelves, subject: str) -> str:
    shelf = shelves[subject]
    for spectrum in Spectrum:
        for expression in EXPRESSIONS:
            have = len(shelf.get((spectrum, expression), ()))
            if have < PER_EXPRESSION:
                return f"{subject} has {have} of {expression} in {spectrum.name}"
    return f"{subject} is complete"


def _pictures(shelves: _Shelves, subjects: list[str], spectrum: Spectrum, seed: int) -> tuple[Sample, ...]:
    chosen: list[Sample] = []
    for subject in subjects:
        for expression in EXPRESSIONS:
            shelf = {s.path.name: s for s in shelves[subject].get((spectrum, expression), [])}
            salt = f"oulu {spectrum.value} {subject} {expression}"
            names = drawn(shelf, PER_EXPRESSION, seed=seed, salt=salt)
            chosen += [shelf[name] for name in sorted(names, key=in_order)]
    return tuple(chosen)
