"""A set that is prepared as docs/training.md says can give a bundle its thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.operating_points import Unsupported
from export.prepared_sets import check_support, plans_of
from faces.types import CONDITIONS, Condition, Pair
from tests.training.data.trees import generic_tree
from training.data.generic import load_generic
from training.data.prepared import PreparedSet, SetInfo
from training.data.records import DataSetError
from training.data.set_writer import SetWriter
from training.views.masking import MaskedSpectra, MaskOptions
from training.views.prepare_plan import plan_of

SIDE_PX = 16


def prepared(root: Path, *, subjects: int, validation: int, masks: MaskedSpectra) -> PreparedSet:
    """The rows that `prepare generic PHOTOS SET --masks ... --validation ...` makes, of blank crops."""
    (root / "photos").mkdir()
    generic_tree(root / "photos", subjects=subjects)
    plan = plan_of(load_generic(root / "photos"), None, part_samples=64, validation=validation)
    info = SetInfo(name="generic", alignment="arcface-112", side_px=SIDE_PX, made_by="a test")
    writer, worn = SetWriter(root / "set", info), MaskOptions(masked=masks)
    for task in plan.tasks:
        spectrum = task.sample.spectrum
        for masked in (False, True) if worn.applies(spectrum) else (False,):
            row = task.facts.row(Condition(spectrum, masked), mask="drawn" if masked else None)
            writer.add(row, np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8))
    return writer.close()


def test_masks_on_all_and_80_validation_subjects_support_a_threshold(tmp_path: Path) -> None:
    made = prepared(tmp_path, subjects=180, validation=80, masks="all")
    check_support([made], ["validation"], targets=[1e-2])
    plans = plans_of([made], ["validation"])
    for probe in CONDITIONS:
        (plan,) = plans[Pair.with_clear_reference(probe)]
        assert plan.people == 80
        assert all(one.mated for one in plan.probes)
    # Nobody is both trained on and validated or tested on.
    people = {
        split: {row.subject for row in made.rows if row.split == split}
        for split in ("train", "validation", "test")
    }
    assert {split: len(found) for split, found in people.items()} == {
        "train": 10,
        "validation": 80,
        "test": 90,
    }
    assert len(set.union(*people.values())) == 180


def test_masks_on_nir_alone_lack_a_condition(tmp_path: Path) -> None:
    made = prepared(tmp_path, subjects=180, validation=80, masks="nir")
    with pytest.raises(Unsupported, match="no probes of vis-masked"):
        check_support([made], ["validation"], targets=[1e-2])


def test_every_training_subject_cannot_be_held_out(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="3 of 3 training subjects cannot be held out"):
        prepared(tmp_path, subjects=6, validation=3, masks="all")
