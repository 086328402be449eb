"""A fold's rows in a prepared set: every sample is a row or a failure with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from faces.types import Spectrum
from training.data.fold_rows import resolve
from training.data.prepared import PreparedSet, Refused, Row, SetInfo
from training.data.records import DataSetError, Fold, Sample
from training.data.set_writer import SetWriter


def sample(name: str) -> Sample:
    """`a/nir/1.png`: subject, spectrum, picture."""
    subject, spectrum, _ = name.split("/")
    return Sample(PurePosixPath(name), subject, Spectrum(spectrum))


def samples(*names: str) -> tuple[Sample, ...]:
    return tuple(sample(name) for name in names)


FOLD = Fold(
    "fold1",
    train=samples("a/nir/1.png", "a/vis/1.png", "b/nir/1.png", "b/vis/1.png"),
    gallery=samples("c/vis/1.png", "d/vis/1.png"),
    probes=samples("d/nir/1.png", "c/nir/1.png", "c/nir/2.png", "c/nir/3.png"),
    digest="0" * 64,
)


def make(root: Path, rows: list[tuple[str, bool]], refusals: list[tuple[str, bool]]) -> PreparedSet:
    writer = SetWriter(root, SetInfo(name="set", alignment="arcface-16", side_px=16, made_by="test"))
    for name, masked in rows:
        s = sample(name)
        row = Row(source=name, subject=s.subject, spectrum=s.spectrum, masked=masked)
        writer.add(row, np.zeros((16, 16, 3), np.uint8))
    for name, masked in refusals:
        s = sample(name)
        writer.refuse(
            Refused(
                source=name,
                subject=s.subject,
                spectrum=s.spectrum,
                code="no_face",
                detail="masked copy" if masked else "picture",
                masked=masked,
            )
        )
    return writer.close()


EVERY = [(str(s.path), False) for s in (*FOLD.train, *FOLD.gallery, *FOLD.probes)]
MASKED = [(str(s.path), True) for s in (*FOLD.train, *FOLD.probes) if s.spectrum is Spectrum.NIR]


def names(prepared: PreparedSet, indices: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str]:
    return [prepared.rows[int(i)].source for i in indices]


def test_rows_come_in_the_order_of_the_lists_with_all_their_conditions(tmp_path: Path) -> None:
    prepared = make(tmp_path, EVERY[::-1] + MASKED, [])
    rows = resolve(FOLD, prepared)
    assert names(prepared, rows.train.made) == [
        source for s in FOLD.train for source in [str(s.path)] * (2 if s.spectrum is Spectrum.NIR else 1)
    ]
    assert names(prepared, rows.gallery.made) == ["c/vis/1.png", "d/vis/1.png"]
    assert names(prepared, rows.probes.made) == [str(s.path) for s in FOLD.probes for _ in range(2)]
    assert sum(prepared.rows[int(i)].masked for i in rows.probes.made) == 4
    assert rows.train.refused == rows.gallery.refused == rows.probes.refused == ()


def test_refused_images_keep_their_reason(tmp_path: Path) -> None:
    lost = {("c/nir/1.png", False), ("c/nir/1.png", True), ("c/nir/2.png", True), ("d/vis/1.png", False)}
    kept = [entry for entry in EVERY + MASKED if entry not in lost]
    refusals = [("d/vis/1.png", False), ("c/nir/2.png", True), ("c/nir/1.png", False)]
    rows = resolve(FOLD, make(tmp_path, kept, refusals))
    assert [r.source for r in rows.gallery.refused] == ["d/vis/1.png"]
    told = [(r.source, r.detail) for r in rows.probes.refused]
    assert told == [("c/nir/1.png", "picture"), ("c/nir/2.png", "masked copy")]
    assert len(rows.probes.made) == 5


def test_a_sample_missing_from_the_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"fold fold1: a/nir/1\.png is not in set \(1 of 4 are not\)"):
        resolve(FOLD, make(tmp_path, EVERY[1:], []))


@pytest.mark.parametrize("gone", [False, True])
def test_a_sample_of_another_subject_in_the_set_is_an_error(tmp_path: Path, gone: bool) -> None:
    first = replace(FOLD.train[0], subject="z")
    other = replace(FOLD, train=(first, *FOLD.train[1:]))
    prepared = make(tmp_path, EVERY[1:], EVERY[:1]) if gone else make(tmp_path, EVERY, [])
    with pytest.raises(DataSetError, match="is subject z, but a in set"):
        resolve(other, prepared)
