"""Reads parity crops: crops with the vectors that a host must compute before it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faces.align import ALIGNMENTS
from faces.bundle import Bundle, BundleError, FileRef, ParitySpec
from faces.types import AlignedCrop, Pixels, Role, Spectrum

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class ParityCrops:
    """`crops`: uint8 [n, side, side, 3]; `expected`: unit float32 [n, dimension] of each role."""

    alignment: str
    crops: Pixels
    expected: Mapping[Role, Vectors]

    def aligned(self) -> list[AlignedCrop]:
        """Returns the crops as preprocessing takes them."""
        (left, _), (right, _) = ALIGNMENTS[self.alignment].points[:2]
        return [AlignedCrop(crop.copy(), self.alignment, right - left, Spectrum.VIS) for crop in self.crops]


def cosines(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the cosine of each pair of rows, float64 [n] of two [n, d]; -1 for a zero or non-finite row."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    with np.errstate(all="ignore"):
        values: NDArray[np.float64] = np.sum(a * b, axis=1) / (
            np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        )
    return np.where(np.isfinite(values), values, -1.0)


def read_parity(bundle: Bundle) -> ParityCrops | None:
    """Returns a bundle's parity crops, None if it has none. Raises BundleError if they do not fit it."""
    spec, encoder = bundle.manifest.parity, bundle.manifest.encoder
    if spec is None:
        return None
    if encoder.alignment not in ALIGNMENTS:
        raise BundleError(f"bundle {bundle.manifest.name}: no alignment {encoder.alignment} here")
    side = ALIGNMENTS[encoder.alignment].side_px
    crops = _load(bundle, spec.crops)
    count = len(crops) if crops.ndim else 0
    if crops.dtype != np.uint8 or crops.shape != (count, side, side, 3) or not count:
        raise BundleError(f"{spec.crops.path} holds no crops on {encoder.alignment}")
    expected = {role: _load(bundle, vector_file(spec, role)) for role in Role}
    for role, rows in expected.items():
        if rows.dtype != np.float32 or rows.shape != (count, encoder.dimension):
            raise BundleError(f"{vector_file(spec, role).path} holds not one vector for each crop")
    vectors = {role: np.asarray(rows, np.float32) for role, rows in expected.items()}
    return ParityCrops(encoder.alignment, np.asarray(crops, np.uint8), vectors)


def vector_file(spec: ParitySpec, role: Role) -> FileRef:
    return spec.probe if role is Role.PROBE else spec.reference


def _load(bundle: Bundle, ref: FileRef) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(bundle.path(ref), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(f"bundle {bundle.manifest.name}: {ref.path} cannot be read") from error
    return array
