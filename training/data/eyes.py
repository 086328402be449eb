"""Reads eye files: `.pos` beside a picture, with x and y of one eye, then of the other."""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath

from faces.types import Point
from training.data.lists import Finder
from training.data.loaded import Ledger

Eyes = tuple[Point, Point]


def read_eyes(finder: Finder, image: PurePosixPath, ledger: Ledger) -> Eyes | None:
    """The two eyes, the left one in the picture first; None if there is no eye file.

    `001.bmp.pos` and `001.pos` are both in use. The ledger records a broken file.
    """
    for candidate in (image.with_name(image.name + ".pos"), image.with_suffix(".pos")):
        found = finder.exact(candidate)
        if found is not None:
            return _parsed(finder, found, ledger)
    return None


def _parsed(finder: Finder, path: PurePosixPath, ledger: Ledger) -> Eyes | None:
    text = (finder.root / path).read_bytes().decode("utf-8-sig", "replace")
    try:
        numbers = [float(part) for part in re.split(r"[\s,;]+", text.strip())]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(math.isfinite(n) for n in numbers):
        ledger.problem(str(path), "an eye file holds four numbers; mend it or take it away")
        return None
    first, second = sorted(((numbers[0], numbers[1]), (numbers[2], numbers[3])))
    return first, second
