"""Data sets by the names that commands and recipes use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from training.data.buaa import load_buaa
from training.data.casia import load_casia
from training.data.generic import load_generic
from training.data.lamphq import load_lamphq
from training.data.lfw_set import load_lfw
from training.data.loaded import Source
from training.data.ms1m import load_identity_folders, load_ms1m
from training.data.oulu import load_oulu
from training.data.records import DataSetError, Fold


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """`strict`: whether everything in the protocol must exist. `seed`: of a split that the project makes;
    `split`: a file with such a split, to use instead."""

    strict: bool = True
    seed: int = 0
    split: Path | None = None


Loader = Callable[[Path, LoadOptions], Source]


@dataclass(frozen=True, slots=True)
class Entry:
    """The loader of a set, a summary of one line, and whether the project makes its split."""

    load: Loader
    summary: str
    seeded: bool = False


LOADERS: Mapping[str, Entry] = MappingProxyType(
    {
        "casia": Entry(
            lambda root, o: load_casia(root, strict=o.strict), "CASIA NIR-VIS 2.0, view 2: ten folds"
        ),
        "casia-view1": Entry(
            lambda root, o: load_casia(root, view=1, strict=o.strict), "CASIA NIR-VIS 2.0, development view"
        ),
        "oulu": Entry(
            lambda root, o: load_oulu(root, strict=o.strict, seed=o.seed, split=o.split),
            "Oulu-CASIA, strong light: 20 + 20 subjects",
            seeded=True,
        ),
        "buaa": Entry(
            lambda root, o: load_buaa(root, strict=o.strict, seed=o.seed, split=o.split),
            "BUAA-VisNir: 50 + 100 subjects",
            seeded=True,
        ),
        "lamphq": Entry(lambda root, o: load_lamphq(root, strict=o.strict), "LAMP-HQ, every fold with lists"),
        "generic": Entry(
            lambda root, o: load_generic(root, strict=o.strict, seed=o.seed, split=o.split),
            "manifest.csv, or <subject>/{vis,nir}/*",
            seeded=True,
        ),
        "vis-folder": Entry(
            lambda root, o: load_identity_folders(root, strict=o.strict), "<id>/*: VIS photos by identity"
        ),
        "ms1m": Entry(
            lambda root, o: load_ms1m(root, strict=o.strict), "<id>/*: VIS crops aligned to 112 px already"
        ),
        "lfw": Entry(lambda root, o: load_lfw(root, strict=o.strict), "LFW from its tar, fixed split"),
    }
)


def load_data_set(name: str, root: Path, options: LoadOptions | None = None) -> Source:
    """Loads a set. Raises DataSetError for an unknown name, an unwanted split, or what the loader finds."""
    entry = LOADERS.get(name)
    if entry is None:
        raise DataSetError(f"{name!r} is no data set: choose from {', '.join(LOADERS)}")
    options = options or LoadOptions()
    if options.split is not None and not entry.seeded:
        raise DataSetError(f"{name} has its own protocol: it takes no split file")
    return entry.load(root, options)


def load_fold(dataset: str | None, root: Path | None, number: int) -> Fold:
    """A fold of a data set's protocol. Raises DataSetError."""
    return load_folds(dataset, root, (number,))[0]


def load_folds(dataset: str | None, root: Path | None, numbers: Sequence[int] = ()) -> tuple[Fold, ...]:
    """Folds of a data set's protocol, counted from 1; all if no number is given. Raises DataSetError."""
    if dataset is None or root is None:
        raise DataSetError("a fold of a protocol needs both --dataset and --root")
    folds = load_data_set(dataset, root, LoadOptions(strict=False)).folds()
    for number in numbers:
        if number > len(folds):
            raise DataSetError(f"{dataset} has {len(folds)} folds: there is no fold {number}")
    return tuple(folds[number - 1] for number in numbers) if numbers else tuple(folds)
