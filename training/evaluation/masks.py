"""Computes figures by mask: NIST's matrix of shape, coverage and reflectance, with its worst cell.

NISTIR 8311 varies shape, nose coverage and colour; in NIR, reflectance replaces colour. Failed probes
count in the table of conditions only, because a set does not record the mask of an image without a face.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faces.types import Spectrum
from training.evaluation.conditions import Asked, RatesAt, SharedThreshold, rates_at
from training.evaluation.figures import Figures
from training.evaluation.pools import Bench

WORST_NEEDS_SUBJECTS = 30
REFLECTANCES = (0.15, 0.35, 0.75, 0.92)
# Shape, coverage, cut (ignored here), reflectance.
_PARAMETRIC = re.compile(
    r"\b(wide|round)[-/ ](low|medium|high)(?:/[A-Za-z][\w-]*)?(?:[-/ ](\d*\.\d+|[01]))?(?![\w.])"
)


@dataclass(frozen=True, slots=True)
class MaskCell:
    """The probes with one kind of mask. `shared`: rates at each shared threshold, largest FMR first."""

    mask: str
    spectrum: Spectrum
    figures: Figures
    shared: tuple[RatesAt, ...]


@dataclass(frozen=True, slots=True)
class MaskMatrix:
    """All cells, by spectrum and name, and the worst of them."""

    cells: tuple[MaskCell, ...]

    @property
    def worst(self) -> MaskCell:
        """The cell of the lowest rank-1 with 30 subjects or more; of all cells if none has so many.

        Among many small cells, the worst one would be chosen by chance.
        """
        large = [cell for cell in self.cells if cell.figures.subjects >= WORST_NEEDS_SUBJECTS]
        return min(large or self.cells, key=lambda cell: cell.figures.rank1.value)


def cell_name(mask: str) -> str:
    """Returns the cell of a row's `mask` text: `wide-high-0.75`, or the text itself.

    A drawn reflectance is rounded to the nearest of NIST's.
    """
    found = _PARAMETRIC.search(mask)
    if found is None:
        return mask
    shape, coverage, level = found.groups()
    if level is None:
        return f"{shape}-{coverage}"
    nearest = min(REFLECTANCES, key=lambda known: abs(known - float(level)))
    return f"{shape}-{coverage}-{nearest:.2f}"


def nist_matrix(bench: Bench, asked: Asked, shared: Sequence[SharedThreshold] = ()) -> MaskMatrix | None:
    """Measures the cells of each spectrum against the unmasked gallery; None if no probe records a mask."""
    rows: dict[tuple[Spectrum, str], list[int]] = {}
    for i in bench.pool.probes.made:
        row = bench.rows[int(i)]
        if row.mask is not None:
            rows.setdefault((row.spectrum, cell_name(row.mask)), []).append(int(i))
    cells = []
    for (spectrum, mask), mine in sorted(rows.items()):
        comparison = bench.compare_rows(np.array(mine, np.int64), gallery_masked=bench.gallery_states[0])
        rates = tuple(rates_at(f"FMR {point.fmr:g}", comparison, point.threshold) for point in shared)
        cells.append(MaskCell(mask, spectrum, asked.figures(comparison), rates))
    return MaskMatrix(tuple(cells)) if cells else None
