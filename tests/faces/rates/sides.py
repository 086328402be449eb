"""Small sides for tests: unit vectors of made-up subjects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faces.rates.scores import Comparison, Side


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def side(rows: NDArray[np.floating], subjects: list[int], *, of: str, failed: tuple[int, ...] = ()) -> Side:
    names = tuple(f"{of}/{i}.png" for i in range(len(subjects)))
    return Side(
        unit(np.asarray(rows, float)), np.array(subjects, np.int64), names, np.array(failed, np.int64)
    )


def noisy(
    subjects: int, *, each: int, noise: float, seed: int = 0, dimension: int = 16, references: int = 1
) -> Comparison:
    """`each` probes and `references` references of every subject, `noise` away from its centre."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((subjects, dimension))
    probe_ids = np.repeat(np.arange(subjects), each)
    reference_ids = np.repeat(np.arange(subjects), references)
    probes = centres[probe_ids] + noise * rng.standard_normal((len(probe_ids), dimension))
    gallery = centres[reference_ids] + noise * rng.standard_normal((len(reference_ids), dimension))
    return Comparison(
        side(probes, probe_ids.tolist(), of="probe"), side(gallery, reference_ids.tolist(), of="gallery")
    )
