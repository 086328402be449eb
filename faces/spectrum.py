"""Tells near-infrared from visible light on a face, whatever is drawn around it.

A frame of an infrared camera is grey, or has one tint that may change slowly over the picture. Boxes,
time stamps and names that a recorder draws into it have colours, and cover a small part of it. So the
smooth tint is removed, the most colourful third is left out, and what remains is looked at: first on
the inner face, which drawings rarely cross, then, if that is grey, on the frame: some faces in visible
light have hardly any colour of their own, but not the whole picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.align import AlignError, align
from faces.types import Face, Image, Pixels, Spectrum

ALIGNMENT = "arcface-112"
# Rows and columns of the aligned crop between a detector's box and the features: a drawn box stays out.
INNER_ROWS, INNER_COLUMNS = slice(40, 96), slice(34, 78)
FACE_PX, FRAME_PX = 24, 32
# Darker pixels have no colour worth the name, and clipped ones have lost theirs.
DARKEST, CLIPPED = 12.0, 250.0
# The share of pixels that decides, the fits of the smooth tint, and the share of pixels that must be usable.
CALM_SHARE, FITS, USABLE = 0.7, 4, 1 / 8
# Largest deviation of a colour share of calm pixels in an infrared picture. One grey level more or less
# weighs more in a dark face: there the limit is DARK_LIMIT at most, DARK_LEVEL / level between.
FACE_LIMIT, DARK_LIMIT, DARK_LEVEL, FRAME_LIMIT = 0.0085, 0.012, 0.3, 0.016


def spectrum_of_face(image: Image, face: Face) -> Spectrum:
    """The light that the pixels around a face tell; `image.spectrum` where the face is too small, too dark
    or too bright to tell.

    A black-and-white photograph is taken for NIR; a caller who knows better says so.
    """
    try:
        crop = align(image, face, ALIGNMENT).pixels[INNER_ROWS, INNER_COLUMNS]
    except AlignError:
        return image.spectrum
    inner = calm_spread(crop, FACE_PX)
    if inner is None:
        return image.spectrum
    spread, level = inner
    if spread > max(FACE_LIMIT, min(DARK_LIMIT, DARK_LEVEL / level)):
        return Spectrum.VIS
    frame = calm_spread(image.pixels, FRAME_PX)
    return Spectrum.VIS if frame is not None and frame[0] > FRAME_LIMIT else Spectrum.NIR


def calm_spread(pixels: Pixels, side_px: int) -> tuple[float, float] | None:
    """How far the colour shares of the calmest pixels lie from a tint that changes smoothly, and the median
    grey level; None where too few pixels are neither dark nor clipped.

    `pixels`: uint8 [h, w, 3], looked at with `side_px` squared. The tint is a polynomial of degree 2 in
    the place, fitted to the pixels that deviated least from the fit before.
    """
    small = cv2.resize(pixels, (side_px, side_px), interpolation=cv2.INTER_AREA)
    values = np.asarray(small, np.float64).reshape(-1, 3)
    usable = (values.mean(axis=1) >= DARKEST) & (values.max(axis=1) <= CLIPPED)
    if usable.sum() < USABLE * len(values):
        return None
    shares = values[usable] / values[usable].sum(axis=1, keepdims=True)
    places = _terms(side_px)[usable]
    calm = np.ones(len(shares), np.bool_)
    limit = 0.0
    for _ in range(FITS):
        tint, *_ = np.linalg.lstsq(places[calm], shares[calm], rcond=None)
        away = np.abs(shares - places @ tint).max(axis=1)
        limit = float(np.quantile(away, CALM_SHARE))
        calm = away <= limit
    return limit, float(np.median(values[usable].mean(axis=1)))


def _terms(side_px: int) -> NDArray[np.float64]:
    """The terms of a polynomial of degree 2 at each pixel, row by row: [side_px squared, 6]."""
    y, x = (grid.ravel() for grid in np.mgrid[-1 : 1 : side_px * 1j, -1 : 1 : side_px * 1j])
    return np.stack([np.ones(side_px**2), x, y, x**2, y**2, x * y], axis=1)
