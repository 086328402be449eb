"""CASIA NIR-VIS 2.0: `s1..s4/{NIR|VIS}/<5-digit id>/NNN.{bmp|jpg}`, and its two views' protocols."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from faces.types import Spectrum
from training.data.eyes import read_eyes
from training.data.lists import Finder, Line, entry_path, read_lines
from training.data.loaded import SUBSET, Finding, Ledger, LoadedSet, existing_root, places_of, unique
from training.data.records import DataSetError, Fold, Sample

View = Literal[1, 2]
FOLDS = 10
TRAIN_SUBJECTS, GALLERY_IMAGES = 357, 358
# Of folds 1 to 10 of view 2.
PROBES = (6208, 6232, 6210, 6055, 6204, 6191, 6247, 6222, 6162, 6245)

NESTED = re.compile(r"^(s\d)/(nir|vis)/([^/]+)/([^/]+)$", re.IGNORECASE)
FLAT = re.compile(r"^(?:(?:nir|vis)/)?(s\d)_(nir|vis)_(\d+)_([^/_]+)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The content of a protocol's line, in any spelling."""

    session: str
    spectrum: Spectrum
    subject: str
    file: str

    @property
    def nested(self) -> PurePosixPath:
        return PurePosixPath(self.session, self.spectrum.name, self.subject, self.file)

    @property
    def flat(self) -> PurePosixPath:
        name = f"{self.session}_{self.spectrum.name}_{self.subject}_{self.file}"
        return PurePosixPath(self.spectrum.name, name)


def _entry(line: Line) -> _Entry:
    path = entry_path(line.text, line.where)
    found = NESTED.match(str(path)) or FLAT.match(str(path))
    if found is None:
        raise DataSetError(
            f"{line.where}: {line.text!r} is neither s1\\NIR\\00001\\001.bmp nor NIR\\s1_NIR_00001_001.bmp"
        )
    session, spectrum, subject, file = found.groups()
    return _Entry(session.lower(), Spectrum(spectrum.lower()), subject, file)


class _Reader:
    """Turns lists into samples; looks up a picture once even if many lists name it."""

    def __init__(self, root: Path, *, strict: bool) -> None:
        self.finder = Finder(root)
        self.ledger = Ledger(strict=strict)
        self.left_out = 0
        self._known: dict[_Entry, Sample | None] = {}
        self._lists = self.finder.exact(PurePosixPath("protocols")) or PurePosixPath()

    def read(self, stem: str, spectrum: Spectrum) -> tuple[Sample, ...]:
        found = self.finder.list_file(self._lists, stem)
        if found is None:
            raise DataSetError(
                f"protocols/{stem} is missing (with or without .txt): "
                "put the data set's own protocols folder there"
            )
        samples: dict[PurePosixPath, Sample] = {}
        for line in read_lines(self.finder.root / found):
            entry = _entry(line)
            if entry.spectrum is not spectrum:
                raise DataSetError(
                    f"{line.where}: a {entry.spectrum.name} picture in a list of {spectrum.name}"
                )
            sample = self._sample(entry, line)
            if sample is None:
                self.left_out += 1
                continue
            if sample.path in samples:
                self.ledger.note(line.where, f"{sample.path} is named twice; it is used once")
            samples[sample.path] = sample
        if not samples:
            raise DataSetError(f"{found.name} names no picture that is there")
        return tuple(samples.values())

    def _sample(self, entry: _Entry, line: Line) -> Sample | None:
        if entry not in self._known:
            path = self.finder.image(entry.nested) or self.finder.image(entry.flat)
            if path is None:
                self.ledger.lacks(
                    Sample(entry.nested, entry.subject, entry.spectrum),
                    line.where,
                    f"{entry.nested} is not there, nor with another ending, nor as {entry.flat}; copy it",
                )
                self._known[entry] = None
            else:
                eyes = read_eyes(self.finder, path, self.ledger)
                self._known[entry] = Sample(path, entry.subject, entry.spectrum, eyes)
        return self._known[entry]


def _fold(reader: _Reader, name: str, suffix: str) -> Fold:
    reader.left_out = 0
    train = reader.read(f"nir_train_{suffix}", Spectrum.NIR) + reader.read(
        f"vis_train_{suffix}", Spectrum.VIS
    )
    gallery = reader.read(f"vis_gallery_{suffix}", Spectrum.VIS)
    probes = reader.read(f"nir_probe_{suffix}", Spectrum.NIR)
    enrolled = {sample.subject for sample in gallery}
    alone = sorted({sample.subject for sample in probes} - enrolled)
    for subject in alone:
        reader.ledger.problem(f"nir_probe_{suffix}", f"subject {subject} has probes but no gallery picture")
    kept = tuple(sample for sample in probes if sample.subject in enrolled)
    whole = not reader.left_out and len(kept) == len(probes)
    return Fold(name if whole else name + SUBSET, train, gallery, kept)


def load_casia(root: Path, *, view: View = 2, strict: bool = True) -> LoadedSet:
    """View 1 (one development fold) or view 2 (ten folds, the protocol of every paper).

    Raises DataSetError naming the list, its line and the picture that is missing. With
    `strict=False` the folds hold what exists; `absent` and `findings` list the rest.
    """
    reader = _Reader(existing_root(root, "s1 to s4 and protocols"), strict=strict)
    if view == 1:
        folds: tuple[Fold, ...] = (_fold(reader, "casia-view1", "dev"),)
    else:
        folds = tuple(_fold(reader, f"casia-view2-fold{k}", str(k)) for k in range(1, FOLDS + 1))
    findings = [*reader.ledger.findings, *(check_counts(folds) if view == 2 else ())]
    samples = unique(folds)
    eyeless = sum(sample.eyes is None for sample in samples)
    if 0 < eyeless < len(samples):
        findings.append(Finding("eye files", f"{eyeless} of {len(samples)} pictures have none"))
    return LoadedSet(
        name=f"casia-view{view}",
        root=root,
        all_samples=samples,
        all_folds=folds,
        findings=tuple(findings),
        absent=reader.ledger.absent,
        places=places_of(folds[0]) if view == 1 else {},
    )


def check_counts(folds: Sequence[Fold]) -> tuple[Finding, ...]:
    """Warns of folds of view 2 that differ from the official counts."""
    findings = []
    if len(folds) != FOLDS:
        findings.append(Finding("view 2", f"{len(folds)} folds, officially {FOLDS}"))
    for fold, probes in zip(folds, PROBES, strict=False):
        counted = {
            "training subjects": (len({s.subject for s in fold.train}), TRAIN_SUBJECTS),
            "gallery pictures": (len(fold.gallery), GALLERY_IMAGES),
            "gallery subjects": (len({s.subject for s in fold.gallery}), GALLERY_IMAGES),
            "probes": (len(fold.probes), probes),
        }
        findings += [
            Finding(fold.name, f"{have} {what}, officially {official}")
            for what, (have, official) in counted.items()
            if have != official
        ]
    return tuple(findings)
