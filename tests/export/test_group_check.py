"""Thresholds are set on some people and asked about others, within each group."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from export.group_check import check_groups, dealt, table
from export.operating_points import Unsupported
from export.threshold_check import fmr_interval
from faces.calibration import EVERYBODY
from faces.rates.tail import Floats, Impostors
from faces.types import CONDITIONS, Pair

PAIR = Pair.with_clear_reference(CONDITIONS[-1])


def made(sizes: dict[str | None, int], *, like: dict[str | None, float], seed: int = 0) -> Impostors:
    """People of groups whose members resemble each other by `like`, with two probes each."""
    rng = np.random.default_rng(seed)
    groups = tuple(name for name, count in sizes.items() for _ in range(count))
    centres = {name: rng.standard_normal(32) for name in sizes}

    def templates(of: tuple[str | None, ...], base: NDArray[np.float64]) -> Floats:
        rows = base + np.stack([like[name] * centres[name] for name in of])
        rows = rows + 0.3 * rng.standard_normal(rows.shape)
        unit: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit

    person = rng.standard_normal((len(groups), 32))
    own = np.repeat(np.arange(len(groups)), 2)
    probes = templates(tuple(groups[i] for i in own), person[own])
    return Impostors(probes, templates(groups, person), own, groups)


def test_everybody_is_in_one_part_and_every_group_in_all() -> None:
    groups = ("a",) * 11 + ("b",) * 7 + (None,) * 4
    parts = dealt(groups, 3, np.random.default_rng(0))
    assert sorted(np.concatenate(parts)) == list(range(22))
    for part in parts:
        count = [sum(groups[i] == name for i in part) for name in ("a", "b", None)]
        assert count[0] in (3, 4)
        assert count[1] in (2, 3)
        assert count[2] in (1, 2)


def test_the_rate_within_each_group_is_that_of_people_who_set_no_threshold() -> None:
    impostors = made({"alike": 400, "apart": 500, None: 60}, like={"alike": 0.9, "apart": 0.2, None: 0.2})
    checks = check_groups(PAIR, impostors, fmr=1e-2, parts=5, seed=3)
    found = {one.group: one for one in checks}
    assert set(found) == {EVERYBODY, "alike", "apart"}
    assert found["alike"].people == 400
    # Five parts of 80 people, two probes each, against the 79 others.
    assert found["alike"].comparisons == 5 * 160 * 79
    # People who resemble each other set the threshold; it keeps the FMR about right for them, and far
    # below it for the others.
    assert found["alike"].observed.low <= 1e-2 <= found["alike"].observed.high * 1.5
    assert found["apart"].observed.high < 2e-3
    assert len(set(found["alike"].thresholds)) > 1
    assert "alike" in table(checks)


def test_one_part_alone_is_the_plain_share() -> None:
    impostors = made({"a": 40, "b": 40}, like={"a": 0.5, "b": 0.0})
    half = impostors.among(np.arange(40, 80))
    expected = [s for _, block in half.score_blocks() for s in block[block > -1.5].tolist()]
    assert fmr_interval(half, 0.3).value == pytest.approx(np.mean(np.array(expected) >= 0.3))
    assert half.groups == ("b",) * 40


def test_too_few_people_set_no_threshold() -> None:
    with pytest.raises(Unsupported, match="support no FMR"):
        check_groups(PAIR, made({"a": 40}, like={"a": 0.1}), fmr=1e-4, parts=4, seed=0)
