"""Figures by the mask that was worn: NIST's matrix of shape, coverage and reflectance, with its worst cell.

NISTIR 8311 varies shape, nose coverage and colour; in NIR a reflectance takes colour's place. Failed
probes stand in the table of conditions: a set does not say which mask an image without a face wore.
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
# Shape, coverage, what kind of cut it has (not told apart here), reflectance.
_PARAMETRIC = re.compile(
    r"\b(wide|round)[-/ ](low|medium|high)(?:/[A-Za-z][\w-]*)?(?:[-/ ](\d*\.\d+|[01]))?(?![\w.])"
)


@dataclass(frozen=True, slots=True)
class MaskCell:
    """The probes that wear one kind of mask. `shared`: at each shared threshold, largest FMR first."""

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
        """The lowest rank-1 among cells with 30 subjects or more (among all, where none has them):
        the worst of many small cells is chosen by chance."""
        large = [cell for cell in self.cells if cell.figures.subjects >= WORST_NEEDS_SUBJECTS]
        return min(large or self.cells, key=lambda cell: cell.figures.rank1.value)


def cell_name(mask: str) -> str:
    """The cell that a row's `mask` text belongs to: `wide-high-0.75`, or the text itself.

    A drawn reflectance goes to the nearest of NIST's.
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
    """Cells of each spectrum against the unmasked gallery; None where no probe says what it wears."""
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
