"""Makes a calibration set of the validation split, with probes of every condition: thresholds need them all.

A near-infrared set has no masked VIS probes, for example. Missing probes are made from VIS crops, and the
set's `synthetic` says so. The comparison of two networks does not use this set.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from faces.align import ALIGNMENTS
from faces.types import CONDITIONS, Condition, Pixels, Spectrum
from training.data.prepared import PreparedSet, Row, SetInfo, read_prepared
from training.data.records import DataSetError
from training.data.set_writer import SetWriter
from training.views.crop_views import crop_view

SYNTHETIC = "probes of {}: made from VIS crops (pseudo-NIR, drawn masks)"


def calibration_set(prepared: PreparedSet, out: Path) -> PreparedSet:
    """Writes the set, or reads it if it is there.

    The first unmasked VIS row of a subject is its reference.
    """
    try:
        return read_prepared(out)
    except DataSetError:
        pass
    rows = _rows(prepared)
    missing = [c for c in CONDITIONS if c not in {r.condition for r in rows.values() if r.role == "probe"}]
    synthetic = [prepared.info.synthetic] if prepared.info.synthetic else []
    synthetic += [SYNTHETIC.format(", ".join(map(str, missing)))] if missing else []
    info = SetInfo(
        name=f"{prepared.info.name}-held-out",
        alignment=prepared.info.alignment,
        side_px=prepared.info.side_px,
        made_by=prepared.info.made_by,
        synthetic="; ".join(synthetic) or None,
    )
    writer = SetWriter(out, info)
    for index, row in rows.items():
        writer.add(row, prepared.crop(index))
    for refused in prepared.refused:
        if refused.split == "validation" and refused.role != "none":
            writer.refuse(refused)
    for condition in missing:
        for index in _last_vis_rows(rows):
            writer.add(*_synthetic_probe(prepared, index, condition))
    return writer.close()


def _rows(prepared: PreparedSet) -> dict[int, Row]:
    """Returns the rows of the split by index; further VIS rows of an enrolled subject become probes."""
    found: dict[int, Row] = {}
    enrolled: set[str] = set()
    for index, row in enumerate(prepared.rows):
        if row.split != "validation" or row.role == "none":
            continue
        again = row.role == "gallery" and row.subject in enrolled
        found[index] = row.model_copy(update={"role": "probe"}) if again else row
        if row.role == "gallery" and not row.masked:
            enrolled.add(row.subject)
    return found


def _last_vis_rows(rows: dict[int, Row]) -> list[int]:
    """Returns one unmasked VIS row of each subject, another than its reference if there is one."""
    chosen = {
        row.subject: index for index, row in rows.items() if row.spectrum is Spectrum.VIS and not row.masked
    }
    return list(chosen.values())


def _synthetic_probe(prepared: PreparedSet, index: int, condition: Condition) -> tuple[Row, Pixels]:
    """Makes a probe of this condition from a VIS crop; the same call always gives the same pixels."""
    row, pixels = prepared.rows[index], prepared.crop(index)
    points = ALIGNMENTS[prepared.info.alignment].points
    rng = np.random.default_rng(zlib.crc32(f"{row.source} {condition}".encode()))
    probe = row.model_copy(update={"role": "probe"})
    return crop_view(probe, pixels, condition, points, rng)
