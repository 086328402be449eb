"""Rank-1 and TAR, counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faces.types import Spectrum
from training.data.prepared import Refused, Row, SetInfo
from training.data.set_writer import SetWriter
from training.matcher.figures import figures
from training.matcher.measure import System, alone, embed_set, measured

NAMES = np.array(["a", "b", "c", "d"])


def test_a_hit_a_miss_a_tie_and_a_failure() -> None:
    scores = np.eye(4, dtype=np.float32) * 0.9
    scores[1, 1], scores[1, 2] = 0.2, 0.5
    scores[2, 2] = scores[2, 3] = 0.4
    found = figures(scores, NAMES, NAMES, failed=np.array(["d"]), fmr=0.2)
    assert found.probes == 5
    assert found.rank1.value == pytest.approx(100 * 2 / 5)
    # 2 of 12 impostor scores are above 0: the threshold lies just above 0, and four mated scores pass.
    assert found.tar.value == pytest.approx(100 * 4 / 5)
    assert found.rank1.low <= found.rank1.value <= found.rank1.high


def test_the_best_reference_of_a_person_counts_and_strangers_are_no_probes_of_a_closed_set() -> None:
    gallery = np.array(["a", "a", "b"])
    scores = np.array([[0.1, 0.8, 0.5], [0.3, 0.2, 0.6], [0.9, 0.9, 0.9]], np.float32)
    found = figures(scores, np.array(["a", "b", "x"]), gallery, fmr=0.5)
    assert found.probes == 2
    assert found.rank1.value == 100.0


def test_a_fused_system_weighs_both_cosines(tmp_path: Path) -> None:
    info = SetInfo(name="t", alignment="arcface-112", side_px=16, made_by="a test")
    writer = SetWriter(tmp_path / "set", info)
    for i, name in enumerate(NAMES):
        for role, spectrum in (("gallery", Spectrum.VIS), ("probe", Spectrum.NIR)):
            row = Row(
                source=f"{name}{role}",
                subject=str(name),
                spectrum=spectrum,
                role=role,
                split="validation",
            )
            writer.add(row, np.full((16, 16, 3), i, np.uint8))
    writer.refuse(
        Refused(source="z", subject="a", spectrum=Spectrum.NIR, code="no_face", detail="none", role="probe")
    )
    prepared = writer.close()
    good = np.eye(4, dtype=np.float32)
    networks = {
        "good": lambda crops: good[crops[:, 0, 0, 0]],
        "bad": lambda crops: np.roll(good, 1, axis=0)[crops[:, 0, 0, 0]] * np.float32(-1),
        "same": lambda crops: np.repeat(good[:1], len(crops), axis=0),
    }
    t = embed_set(prepared, networks, tmp_path / "kept")
    assert (tmp_path / "kept" / "set-good.npy").is_file()
    of = {"spectrum": Spectrum.NIR, "masked": False}
    assert measured(alone("good"), t, t, **of).rank1.value == pytest.approx(80.0)  # type: ignore[arg-type]
    assert measured(alone("same"), t, t, **of).rank1.value == 0.0  # type: ignore[arg-type]
    fused = System("f", "same", "same", "same", "good", 0.3)
    assert measured(fused, t, t, **of).rank1.value == pytest.approx(80.0)  # type: ignore[arg-type]
