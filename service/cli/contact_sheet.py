"""Draws the contact sheet: each probe beside the reference of its best candidate, framed by outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

TILE_PX, CAPTION_PX, FRAME_PX, GAP_PX, COLUMNS = 160, 44, 5, 12, 4
BACKGROUND, TEXT = (250, 250, 250), (40, 40, 40)
# Frame colours as (blue, green, red).
COLOURS = {"correct": (80, 160, 60), "wrong": (50, 50, 210), "missed": (30, 160, 230)}


@dataclass(frozen=True, slots=True)
class Tile:
    """One probe. `outcome` is a key of COLOURS; `reference` is None if there is no candidate."""

    probe: bytes
    reference: bytes | None
    caption: tuple[str, str]
    outcome: str


def draw_contact_sheet(tiles: Sequence[Tile]) -> Pixels:
    """Draws all tiles as uint8 [h, w, 3]. Raises ValueError if there are none."""
    if not tiles:
        raise ValueError("a contact sheet needs at least one probe")
    drawn = [_draw_tile(tile) for tile in tiles]
    blank = np.full_like(drawn[0], BACKGROUND)
    drawn += [blank] * (-len(drawn) % COLUMNS)
    rows = [np.hstack(drawn[i : i + COLUMNS]) for i in range(0, len(drawn), COLUMNS)]
    return np.asarray(np.vstack(rows), np.uint8)


def write_contact_sheet(path: Path, tiles: Sequence[Tile]) -> None:
    """Writes the contact sheet as PNG. Raises OSError if it cannot be written."""
    done, data = cv2.imencode(".png", draw_contact_sheet(tiles))
    if not done:
        raise OSError("OpenCV could not write a PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


def _draw_tile(tile: Tile) -> Pixels:
    pair = np.hstack([_thumbnail(tile.probe), _thumbnail(tile.reference)])
    framed = cv2.copyMakeBorder(pair, *(FRAME_PX,) * 4, cv2.BORDER_CONSTANT, value=COLOURS[tile.outcome])
    caption = np.full((CAPTION_PX, framed.shape[1], 3), BACKGROUND, np.uint8)
    for line, text in enumerate(tile.caption):
        place = (4, 16 + 19 * line)
        cv2.putText(caption, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.46, TEXT, 1, cv2.LINE_AA)
    whole = np.vstack([framed, caption])
    gap = (GAP_PX // 2,) * 4
    return np.asarray(cv2.copyMakeBorder(whole, *gap, cv2.BORDER_CONSTANT, value=BACKGROUND), np.uint8)


def _thumbnail(data: bytes | None) -> Pixels:
    """Returns a square thumbnail, or a grey one if there is no image."""
    empty = np.full((TILE_PX, TILE_PX, 3), 225, np.uint8)
    if data is None:
        return empty
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        return empty
    return np.asarray(cv2.resize(pixels, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), np.uint8)
