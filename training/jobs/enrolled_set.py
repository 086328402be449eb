"""Makes a prepared set of the service's enrolled crops, with pseudo-NIR probes for subjects that lack them.

Photos that were enrolled as NIR are the labelled probes. A subject with two VIS photos and no NIR photo
is used as well: pseudo-NIR of one photo, unmasked and with a drawn mask, is paired with the other photo.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from faces.align import ALIGNMENTS
from faces.enrolled import EnrolledRow, read_enrolled
from faces.types import Condition, Pixels, Spectrum
from training.data.prepared import PreparedSet, Row, SetInfo, read_prepared
from training.data.records import DataSetError
from training.data.set_writer import SetWriter
from training.views.crop_views import crop_view


def enrolled_set(crops: Path, out: Path) -> PreparedSet:
    """Writes the set, or reads it if it is there; every row is in the train split.

    Raises DataSetError if the crops cannot be read.
    """
    try:
        return read_prepared(out)
    except DataSetError:
        pass
    try:
        alignment, rows = read_enrolled(crops)
        info = SetInfo(
            name="enrolled",
            alignment=alignment,
            side_px=ALIGNMENTS[alignment].side_px,
            made_by="POST /admin/retrain",
            synthetic="NIR of subjects without a NIR photo is made from VIS crops, their masks are drawn",
        )
        with_nir: set[int] = set()
        unmasked_vis: list[tuple[EnrolledRow, Pixels]] = []
        writer = SetWriter(out, info)
        for row, crop in rows:
            writer.add(_row(row), crop)
            if row.spectrum is Spectrum.NIR:
                with_nir.add(row.subject)
            elif not row.masked:
                unmasked_vis.append((row, crop))
        for row, crop in unmasked_vis:
            if row.subject not in with_nir:
                for masked in (False, True):
                    writer.add(*_pseudo_nir(row, crop, alignment, masked=masked))
        return writer.close()
    except ValueError as error:
        raise DataSetError(str(error)) from error


def _row(row: EnrolledRow) -> Row:
    return Row(
        source=f"sample-{row.sample}",
        subject=f"subject-{row.subject}",
        spectrum=row.spectrum,
        masked=row.masked,
        split="train",
    )


def _pseudo_nir(row: EnrolledRow, crop: Pixels, alignment: str, *, masked: bool) -> tuple[Row, Pixels]:
    points = ALIGNMENTS[alignment].points
    rng = np.random.default_rng(zlib.crc32(f"{row.sample} {masked}".encode()))
    return crop_view(_row(row), crop, Condition(Spectrum.NIR, masked), points, rng)
