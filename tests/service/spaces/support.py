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
from faces.image import DecodeLimits, decode
from faces.preprocess import encoder_input
from faces.types import Condition, Pair, Role, Spectrum
from service.inference.engine import Engine
from tests.conftest import sample_bytes
from tests.service.inference.faces import load, see

COLUMNS = (2, 110)
SHIFT = 0.015
WAIT_S = 600.0
# Both sides round to six digits; a batch differs from a single pass by the last bits.
TOLERANCE = 2e-5
TOP_K = 5
LIMITS = DecodeLimits(max_bytes=16 << 20, max_pixels=50_000_000)


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
    for pair in facts["calibration"]["pairs"]:
        for point in pair["points"]:
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
    open_set: bool = False

    def check(self, probe: str, answer: Mapping[str, Any]) -> None:
        """The answer is this space's, whole: its threshold, its scores, its gallery.

        Subjects that the oracle does not know were enrolled meanwhile: they may stand in between.
        """
        assert answer["space_id"] == self.space_id
        (result,) = answer["results"]
        seen = result["condition"]
        condition = Condition(Spectrum(seen["spectrum"]), seen["masked"])
        assert result["threshold"] == self.thresholds[condition]
        ours = self.scores[probe]
        best = sorted(ours.values(), reverse=True)
        known = [c for c in result["candidates"] if c["subject_id"] in ours]
        assert len(known) == len(result["candidates"]) or self.open_set
        for candidate, nth in zip(known, best, strict=False):
            expected = ours[candidate["subject_id"]]
            assert abs(candidate["score"] - expected) < TOLERANCE, (probe, candidate, expected)
            # Nobody of the gallery was left out above this one.
            assert abs(expected - nth) < TOLERANCE, (probe, candidate, nth)
            assert abs(candidate["margin"] - (candidate["score"] - result["threshold"])) < TOLERANCE
        assert len(result["candidates"]) >= min(TOP_K, len(ours))


def oracle(bundle_dir: Path, subjects: tuple[str, ...], probes: Mapping[str, str]) -> Oracle:
    """`probes`: file name of each probe by subject; each subject is enrolled with `vis_1.jpg`."""
    references = {subject: sample_bytes(subject) for subject in subjects}
    asked = {subject: sample_bytes(subject, name) for subject, name in probes.items()}
    return photo_oracle(bundle_dir, references, asked)


def photo_oracle(
    bundle_dir: Path, references: Mapping[str, bytes], probes: Mapping[str, bytes], *, open_set: bool = False
) -> Oracle:
    """`references` and `probes`: photos by subject. `open_set`: others may be enrolled besides."""
    engine = load(bundle_dir)
    calibration = engine.manifest.calibration
    assert calibration is not None
    templates = {s: _template(engine, photo, Spectrum.VIS, Role.REFERENCE) for s, photo in references.items()}
    scores = {}
    for subject, photo in probes.items():
        probe = _template(engine, photo, None, Role.PROBE)
        scores[subject] = {s: float(probe @ reference) for s, reference in templates.items()}
    conditions = [Condition(s, m) for s in Spectrum for m in (False, True)]
    fmr = calibration.default_fmr
    limits = {c: calibration.at(Pair.with_clear_reference(c), fmr).threshold for c in conditions}
    return Oracle(engine.manifest.space_id, scores, limits, open_set)


def _template(engine: Engine, photo: bytes, light: Spectrum | None, role: Role) -> NDArray[np.float32]:
    seen = see(engine, decode(photo, limits=LIMITS, spectrum=light))
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
