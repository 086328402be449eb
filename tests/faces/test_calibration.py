"""The table of thresholds by pair of conditions, and the four conditions of manifests of format 1."""

from __future__ import annotations

import json
from typing import Any

import pytest

from faces.bundle import BundleError, parse_manifest
from faces.calibration import Calibration, UncalibratedPair, UnsupportedFmr
from faces.types import CONDITIONS, PAIRS, Pair
from service.bundles.reference import MANIFEST_FILE

CLEAR = {Pair.with_clear_reference(probe) for probe in CONDITIONS}


def format_one() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(MANIFEST_FILE.read_text(encoding="utf-8"))
    assert found["format"] == 1, "the reference bundle's manifest stays as it was published"
    return found


def table() -> Calibration:
    calibration = parse_manifest(json.dumps(format_one())).calibration
    assert calibration is not None
    return calibration


def test_a_manifest_of_format_one_has_four_pairs_and_no_other() -> None:
    old, calibration = format_one()["calibration"], table()
    assert {points.pair for points in calibration.pairs} == CLEAR
    for condition in old["conditions"]:
        (points,) = [
            p
            for p in calibration.pairs
            if (p.probe.spectrum.value, p.probe.masked) == (condition["spectrum"], condition["masked"])
        ]
        assert points.subjects == condition["subjects"]
        for point, was in zip(points.points, condition["points"], strict=True):
            assert point.model_dump(include=set(was)) == was
            assert point.everybody == point.threshold
    assert (calibration.default_fmr, calibration.duplicate_fmr) == (old["default_fmr"], old["duplicate_fmr"])
    for pair in set(PAIRS) - CLEAR:
        assert not calibration.has(pair)
        assert calibration.supported(pair) == ()
        with pytest.raises(UncalibratedPair, match=f"{pair.probe} probes against {pair.reference}"):
            calibration.at(pair, calibration.default_fmr)


def test_a_manifest_that_was_read_as_format_one_is_written_as_format_two_and_means_the_same() -> None:
    manifest = parse_manifest(json.dumps(format_one()))
    again = parse_manifest(manifest.model_dump_json())
    assert again == manifest
    assert again.format == 2
    assert again.space_id == manifest.space_id
    assert again.calibration is not None
    assert manifest.calibration is not None
    assert again.calibration.id == manifest.calibration.id


def test_the_id_changes_with_every_threshold() -> None:
    data = format_one()
    data["calibration"]["conditions"][3]["points"][0]["threshold"] -= 1e-6
    changed = parse_manifest(json.dumps(data)).calibration
    assert changed is not None
    assert changed.id != table().id
    assert changed.id.startswith("cal-")


def test_a_fault_in_an_old_calibration_is_named() -> None:
    data = format_one()
    data["calibration"]["conditions"][0]["points"][0]["threshold"] = 7
    with pytest.raises(BundleError, match=r"calibration\.conditions\.0\.points\.0\.threshold"):
        parse_manifest(json.dumps(data))


def changed(**change: Any) -> Calibration:
    return Calibration.model_validate(table().model_dump() | change)


def test_a_table_without_a_condition_of_probes_or_with_a_pair_twice_is_refused() -> None:
    pairs = table().model_dump()["pairs"]
    with pytest.raises(ValueError, match="every condition of probes"):
        changed(pairs=pairs[:3])
    with pytest.raises(ValueError, match="once at most"):
        changed(pairs=[*pairs, pairs[0]])
    with pytest.raises(ValueError, match="no threshold is calibrated for FMR 1e-09"):
        changed(default_fmr=1e-9)


def test_within_takes_the_loosest_point_that_every_pair_has() -> None:
    calibration = table()
    strictest = calibration.common[-1]
    assert calibration.within(0.5) == calibration.common[0]
    assert calibration.within(1e-3) == 1e-3
    assert calibration.within(9.9e-3) == 1e-3
    with pytest.raises(UnsupportedFmr) as caught:
        calibration.within(strictest / 10)
    assert caught.value.supported == calibration.common
