"""Separations counted by hand, and differences over the same probes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faces.types import CONDITIONS, Condition, Spectrum
from training.data.prepared import PreparedSet, Row, SetInfo
from training.data.records import DataSetError
from training.data.set_writer import SetWriter
from training.matcher.gap import gap_lines, less, standing
from training.matcher.measure import embed_set

NIR_MASKED = Condition(Spectrum.NIR, masked=True)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedSet:
    """A reference and a masked NIR probe of each of four people; a crop's grey value says whose it is."""
    writer = SetWriter(
        tmp_path / "set", SetInfo(name="t", alignment="arcface-112", side_px=16, made_by="a test")
    )
    for i, name in enumerate("abcd"):
        for role, condition in (("gallery", CONDITIONS[0]), ("probe", NIR_MASKED)):
            row = Row(
                source=f"{name}-{role}",
                subject=name,
                spectrum=condition.spectrum,
                masked=condition.masked,
                role=role,
                split="validation",
            )
            writer.add(row, np.full((16, 16, 3), i, np.uint8))
    return writer.close()


def test_a_separation_is_of_the_scores_with_everybody_else(prepared: PreparedSet) -> None:
    # Nobody scores quite the same as another, or a separation has no scale.
    references = np.eye(4, dtype=np.float32)
    trunk = references + np.arange(16, dtype=np.float32).reshape(4, 4) / 100
    probes = np.array([[0.9, 0.1, 0.2, 0.3], [0.5, 0.4, 0.0, 0.1], [0, 0, 1, 0.5], [0.1, 0.2, 0.3, 0.8]])
    networks = {
        "trunk": lambda crops: references[crops[:, 0, 0, 0]],
        "same": lambda crops: trunk[crops[:, 0, 0, 0]],
        "run": lambda crops: probes.astype(np.float32)[crops[:, 0, 0, 0]],
    }
    of = embed_set(prepared, networks)
    found = standing(of, "trunk", "run", NIR_MASKED)
    assert found.subject.tolist() == ["a", "b", "c", "d"]
    assert found.first.tolist() == [1, 0, 1, 1]
    others = np.array([0.1, 0.2, 0.3])
    assert found.separation[0] == pytest.approx((0.9 - 0.2) / others.std(), rel=1e-5)
    first, second = gap_lines({"training": of}, "trunk", ["run", "same"], [NIR_MASKED])
    assert (first.rank1, first.rank1_less) == (75.0, None)
    assert second.rank1_less is not None
    assert second.rank1_less.value == pytest.approx(25.0)
    assert "+25.0 [" in str(second)
    with pytest.raises(DataSetError, match="no probe of nir-unmasked"):
        standing(of, "trunk", "run", Condition(Spectrum.NIR, masked=False))


def test_a_difference_is_that_of_the_same_probes() -> None:
    rng = np.random.default_rng(1)
    subject = np.repeat([f"s{i:02}" for i in range(60)], 2)
    hard = rng.normal(0, 5, 120)
    found = less(hard + 0.5 + rng.normal(0, 0.1, 120), hard, subject)
    # Probes differ by far more than runs do; the pairs take that out.
    assert 0.45 < found.low < found.value < found.high < 0.55
    same = less(hard, hard, subject)
    assert (same.low, same.value, same.high) == (0, 0, 0)
