"""A fold in rows of a prepared set: every sample is a row, or a failure with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from faces.types import Spectrum
from training.data.fold_rows import resolve
from training.data.prepared import PreparedSet, Refused, Row, SetInfo, SetWriter
from training.data.records import DataSetError, Fold, Sample


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


def test_rows_come_in_the_order_of_the_lists_by_part_and_state(tmp_path: Path) -> None:
    prepared = make(tmp_path, EVERY[::-1] + MASKED, [])
    rows = resolve(FOLD, prepared)
    assert names(prepared, rows.train_nir.unmasked) == ["a/nir/1.png", "b/nir/1.png"]
    assert names(prepared, rows.train_nir.masked) == ["a/nir/1.png", "b/nir/1.png"]
    assert names(prepared, rows.train_vis.unmasked) == ["a/vis/1.png", "b/vis/1.png"]
    assert len(rows.train_vis.masked) == 0
    assert names(prepared, rows.gallery.unmasked) == ["c/vis/1.png", "d/vis/1.png"]
    assert names(prepared, rows.probes.masked) == [str(s.path) for s in FOLD.probes]
    assert all(prepared.rows[int(i)].masked for i in rows.probes.masked)
    assert len(rows.probes.both) == 8
    assert (rows.name, rows.digest) == ("fold1", "0" * 64)
    assert rows.failed_probes == ()
    assert rows.failed_gallery == ()
    assert len(rows.mateless) == 0


def test_failed_probes_stay_with_their_reason_in_each_state(tmp_path: Path) -> None:
    lost = {("c/nir/1.png", False), ("c/nir/1.png", True), ("c/nir/2.png", True)}
    kept = [entry for entry in EVERY + MASKED if entry not in lost]
    prepared = make(tmp_path, kept, [("c/nir/1.png", False), ("c/nir/2.png", True)])
    rows = resolve(FOLD, prepared)
    assert [p.source for p in rows.failures(masked=False)] == ["c/nir/1.png"]
    masked = {p.source: p.detail for p in rows.failures(masked=True)}
    assert masked == {"c/nir/1.png": "picture", "c/nir/2.png": "masked copy"}
    for state, whole in ((False, rows.probes.unmasked), (True, rows.probes.masked)):
        assert len(whole) + len(rows.failures(masked=state)) == len(FOLD.probes)


def test_probes_of_a_subject_that_lost_its_reference_are_told(tmp_path: Path) -> None:
    kept = [entry for entry in EVERY if entry[0] != "d/vis/1.png"]
    prepared = make(tmp_path, kept, [("d/vis/1.png", False)])
    rows = resolve(FOLD, prepared)
    assert [r.source for r in rows.failed_gallery] == ["d/vis/1.png"]
    assert names(prepared, rows.mateless) == ["d/nir/1.png"]


def test_a_set_where_all_probes_failed_counts_them_all(tmp_path: Path) -> None:
    probes = [(str(s.path), False) for s in FOLD.probes]
    rows = resolve(FOLD, make(tmp_path, [e for e in EVERY if e not in probes], probes))
    assert len(rows.failures(masked=False)) == 4
    assert rows.failures(masked=True) == ()


def test_a_sample_that_the_set_does_not_know_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"fold fold1: a/nir/1\.png is neither a row nor refused in set"):
        resolve(FOLD, make(tmp_path, EVERY[1:], []))


def test_a_sample_that_is_somebody_else_there_is_an_error(tmp_path: Path) -> None:
    first = replace(FOLD.train[0], subject="z")
    other = replace(FOLD, train=(first, *FOLD.train[1:]))
    with pytest.raises(DataSetError, match="is subject z, but a in set"):
        resolve(other, make(tmp_path, EVERY, []))


def test_pseudo_nir_of_a_visible_photo_is_no_row_of_its_sample(tmp_path: Path) -> None:
    writer = SetWriter(tmp_path, SetInfo(name="set", alignment="arcface-16", side_px=16, made_by="test"))
    for spectrum in Spectrum:
        generator = "pseudo" if spectrum is Spectrum.NIR else None
        row = Row(source="a/vis/1.png", subject="a", spectrum=spectrum, generator=generator)
        writer.add(row, np.zeros((16, 16, 3), np.uint8))
    prepared = writer.close()
    rows = resolve(Fold("f", samples("a/vis/1.png"), (), ()), prepared)
    assert names(prepared, rows.train_vis.unmasked) == ["a/vis/1.png"]
    assert prepared.rows[int(rows.train_vis.unmasked[0])].generator is None
    assert len(rows.train_nir.both) == 0
