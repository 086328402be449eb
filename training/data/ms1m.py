"""Visible-light faces by identity, for pre-training: `root/<id>/*.jpg`, as MS1M-v1c is laid out."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from faces.types import Spectrum
from training.data.lists import Finder, in_order, is_image
from training.data.loaded import Ledger, LoadedSet, Place, existing_root
from training.data.records import DataSetError, Sample


def load_identity_folders(
    root: Path,
    *,
    name: str = "vis-folder",
    aligned_to: str | None = None,
    max_subjects: int | None = None,
    strict: bool = True,
) -> LoadedSet:
    """Every picture of every identity, all for training.

    `aligned_to`: the alignment of the pictures, if they are crops already, as those of MS1M-v1c are
    (112 px); no detector runs then. `max_subjects` takes the first identities only.
    Raises DataSetError naming an identity without a picture, or a picture outside a folder.
    """
    existing_root(root, "<id>/*.jpg")
    finder, ledger = Finder(root), Ledger(strict=strict)
    top = PurePosixPath()
    samples: list[Sample] = []
    subjects = 0
    for entry in sorted(finder.names(top).values(), key=in_order):
        if max_subjects is not None and subjects == max_subjects:
            break
        if not (root / entry).is_dir():
            if is_image(entry):
                ledger.problem(entry, "a picture outside an identity's folder; move it into one")
            continue
        # Without the finder, which would hold every name of a set of millions.
        files = sorted((f.name for f in (root / entry).iterdir() if is_image(f.name)), key=in_order)
        if not files:
            ledger.problem(entry, "an identity without a picture; take the folder away")
            continue
        subjects += 1
        samples += [Sample(PurePosixPath(entry, file), entry, Spectrum.VIS) for file in files]
    if not samples:
        raise DataSetError(f"{root.name} holds no <id>/*.jpg")
    if max_subjects is not None and subjects < max_subjects:
        ledger.note(root.name, f"{subjects} identities, fewer than the {max_subjects} asked for")
    return LoadedSet(
        name=name,
        root=root,
        all_samples=tuple(samples),
        all_folds=(),
        findings=tuple(ledger.findings),
        everywhere=Place("train"),
        aligned_to=aligned_to,
    )


def load_ms1m(root: Path, *, strict: bool = True, max_subjects: int | None = None) -> LoadedSet:
    """MS1M-v1c: aligned 112 px crops."""
    return load_identity_folders(
        root, name="ms1m", aligned_to="arcface-112", strict=strict, max_subjects=max_subjects
    )
