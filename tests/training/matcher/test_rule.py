"""The mean of the rule, counted by hand over the set with real masks and LFW's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faces.types import CONDITIONS, Condition, Spectrum
from training.data.prepared import PreparedSet, Refused, Row, SetInfo
from training.data.set_writer import SetWriter
from training.matcher.measure import Embed, embed_set
from training.matcher.rule import CELLS, LFW, REAL, rule_lines

PEOPLE = 12


def prepared(root: Path, name: str, first: int, *, refused: int | None = None) -> PreparedSet:
    """A reference and a probe of each condition of each person, whom a crop's blue value names; its green
    value is 1 for probes of masked NIR."""
    writer = SetWriter(root / name, SetInfo(name=name, alignment="arcface-112", side_px=16, made_by="a test"))
    asked = [CONDITIONS[0], *(c for of_set, c in CELLS if of_set == name)]
    for person in range(first, first + PEOPLE):
        for condition in asked:
            role = "probe" if condition != CONDITIONS[0] else "gallery"
            facts = {"source": f"{person}-{condition}", "subject": f"{person:02}", "role": role}
            if person == refused and condition == asked[-1]:
                kind = {"spectrum": condition.spectrum, "masked": condition.masked}
                writer.refuse(Refused(code="no_face", detail="none", **facts, **kind))
                continue
            row = Row(
                spectrum=condition.spectrum,
                masked=condition.masked,
                split="validation",
                **facts,
            )
            crop = np.full((16, 16, 3), person, np.uint8)
            crop[:, :, 1] = condition == Condition(Spectrum.NIR, masked=True)
            writer.add(row, crop)
    return writer.close()


def knows(people: int, *, nir_masked: int | None = None) -> Embed:
    """A network that finds the first `people`, or in masked NIR the first `nir_masked`; it takes everybody
    else for somebody who is not there."""

    def embed(crops: np.ndarray) -> np.ndarray:
        who, hard = crops[:, 0, 0, 0].astype(int), crops[:, 0, 0, 1] > 0
        most = np.where(hard, people if nir_masked is None else nir_masked, people)
        return np.eye(256, dtype=np.float32)[np.where(who < most, who, 255)]

    return embed


@pytest.fixture
def sets(tmp_path: Path) -> dict[str, PreparedSet]:
    return {LFW: prepared(tmp_path, LFW, 0), REAL: prepared(tmp_path, REAL, PEOPLE, refused=PEOPLE)}


def test_the_mean_is_over_five_conditions_and_both_figures(sets: dict[str, PreparedSet]) -> None:
    networks = {"good": knows(255), "half": knows(255, nir_masked=6), "trunk": knows(255)}
    of = {name: embed_set(one, networks) for name, one in sets.items()}
    good, half, trunk = rule_lines(of, "trunk", ["good", "half", "trunk"])
    # One probe of the real masks' last condition was refused: a miss for every run.
    refused = 100 * (4 + 11 / 12) / 5
    assert good.mean == pytest.approx(refused)
    assert good.less is None
    # Six of LFW's twelve in masked NIR are left, and nobody with a real mask.
    assert half.mean == pytest.approx(100 * (3 + 0.5 + 0) / 5)
    assert half.less is not None
    assert half.less.value == pytest.approx(half.mean - good.mean)
    assert half.less.low < half.less.value < half.less.high < 0
    assert trunk.less is not None
    assert (trunk.less.low, trunk.less.value, trunk.less.high) == (0, 0, 0)
    assert str(trunk) == f"| trunk | {refused:.1f} | +0.0 [+0.0, +0.0] |"
