"""Makes a contact sheet: a row for each picture, before and after."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from faces.types import Pixels

GAP_PX = 4
BACKGROUND = 32


def fit_cell(pixels: Pixels, side_px: int) -> Pixels:
    """Returns uint8 [side, side, 3]: the picture as large as fits, centred on a dark background."""
    height, width = pixels.shape[:2]
    factor = side_px / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    cell = np.full((side_px, side_px, 3), BACKGROUND, np.uint8)
    left, top = (side_px - size[0]) // 2, (side_px - size[1]) // 2
    cell[top : top + size[1], left : left + size[0]] = cv2.resize(pixels, size, interpolation=method)
    return cell


def contact_sheet(rows: Sequence[Sequence[Pixels]], *, side_px: int = 224) -> Pixels:
    """Returns uint8 [h, w, 3] of all rows; shorter rows end in background. Raises ValueError for no rows."""
    columns = max((len(row) for row in rows), default=0)
    if columns == 0:
        raise ValueError("a sheet needs at least one picture")
    step = side_px + GAP_PX
    sheet = np.full((len(rows) * step + GAP_PX, columns * step + GAP_PX, 3), BACKGROUND, np.uint8)
    for r, row in enumerate(rows):
        for c, pixels in enumerate(row):
            top, left = r * step + GAP_PX, c * step + GAP_PX
            sheet[top : top + side_px, left : left + side_px] = fit_cell(pixels, side_px)
    return sheet
