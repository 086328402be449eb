"""A second bundle that makes another space, and what both of them should answer."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from faces.align import align
from faces.bundle import Manifest, read, write_manifest
from faces.preprocess import encoder_input
from faces.types import Condition, Image, Role, Spectrum
from service.inference.engine import Engine
from tests.service.inference.faces import load, pixels, see

COLUMNS = (2, 110)
SHIFT = 0.015
WAIT_S = 150.0
# Both sides round to six digits; a batch differs from a single pass by the last bits.
TOLERANCE = 2e-5


def variant(
    source: Path,
    target: Path,
    *,
    columns: tuple[int, int] = COLUMNS,
    shift: float = SHIFT,
    name: str = "wide",
) -> Manifest:
    """The bundle with another cut of the aligned crop (another space), thresholds shifted by `shift`."""
    bundle = read(source)
    target.mkdir(parents=True)
    for ref in bundle.manifest.files:
        shutil.copyfile(bundle.path(ref), target / ref.path)
    facts = bundle.manifest.model_dump(mode="json")
    facts["name"], facts["encoder"]["columns"] = name, columns
    for condition in facts["calibration"]["conditions"]:
        for point in condition["points"]:
            point["threshold"] = min(1.0, point["threshold"] + shift)
    for point in facts["calibration"].get("worst", ()):
        point["threshold"] = min(1.0, point["threshold"] + shift)
    manifest = Manifest.model_validate(facts)
    write_manifest(manifest, target)
    return manifest


@dataclass(frozen=True, slots=True)
class Oracle:
    """What one space answers to each probe, computed here: scores by subject, and the threshold."""

    space_id: str
    scores: Mapping[str, Mapping[str, float]]
    thresholds: Mapping[Condition, float]

    def check(self, probe: str, answer: Mapping[str, Any]) -> None:
        """The answer is this space's, whole: its threshold, its scores, its gallery."""
        assert answer["space_id"] == self.space_id
        (result,) = answer["results"]
        seen = result["condition"]
        condition = Condition(Spectrum(seen["spectrum"]), seen["masked"])
        assert result["threshold"] == self.thresholds[condition]
        for candidate in result["candidates"]:
            expected = self.scores[probe][candidate["subject_id"]]
            assert abs(candidate["score"] - expected) < TOLERANCE, (probe, candidate, expected)
            assert abs(candidate["margin"] - (candidate["score"] - result["threshold"])) < TOLERANCE


def oracle(bundle_dir: Path, subjects: tuple[str, ...], probes: Mapping[str, str]) -> Oracle:
    """`probes`: file name of each probe by subject; each subject is enrolled with `vis_1.jpg`."""
    engine = load(bundle_dir)
    calibration = engine.manifest.calibration
    assert calibration is not None
    references = {s: _template(engine, s, "vis_1.jpg", Spectrum.VIS, Role.REFERENCE) for s in subjects}
    scores = {}
    for subject, name in probes.items():
        probe = _template(engine, subject, name, Spectrum.NIR, Role.PROBE)
        scores[subject] = {s: float(probe @ reference) for s, reference in references.items()}
    conditions = [Condition(s, m) for s in Spectrum for m in (False, True)]
    limits = {c: calibration.at(c, calibration.default_fmr).threshold for c in conditions}
    return Oracle(engine.manifest.space_id, scores, limits)


def _template(engine: Engine, subject: str, name: str, light: Spectrum, role: Role) -> NDArray[np.float32]:
    seen = see(engine, Image(pixels(subject, name), light))
    spec = engine.manifest.encoder
    (vector,) = engine.encoder.run(
        [(role, encoder_input(align(seen.image, seen.face, spec.alignment), spec))]
    )
    return vector


def space_of(client: httpx.Client, space_id: str) -> dict[str, Any]:
    answer = client.get(f"/admin/spaces/{space_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_state(client: httpx.Client, space_id: str, state: str) -> dict[str, Any]:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        found = space_of(client, space_id)
        if found["state"] == state:
            return found
        time.sleep(0.05)
    raise AssertionError(f"the space never became {state}: {found}")


def wait_ended(client: httpx.Client, space_id: str) -> dict[str, Any]:
    """Until nobody fills the space any more."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        found = space_of(client, space_id)
        if found["backfill"] is not None and not found["backfill"]["running"]:
            return found
        time.sleep(0.05)
    raise AssertionError(f"the backfill never ended: {found}")


def make_ready(client: httpx.Client, bundle: str) -> str:
    """Register, fill, wait; the space's id."""
    made = client.post("/admin/spaces", json={"bundle": bundle})
    assert made.status_code == 201, made.text
    space_id = str(made.json()["space_id"])
    asked = client.post(f"/admin/spaces/{space_id}/backfill")
    assert asked.status_code == 202, asked.text
    wait_state(client, space_id, "ready")
    return space_id
