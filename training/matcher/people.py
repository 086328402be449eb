"""Assigns people to the fixed splits, and keeps some for thresholds.

The rules depend on names alone, so that every machine draws the same lists:

- LFW: `training.data.lfw.split_of`; `real_masks.zip`: the manifest's split.
- `faces_extra.zip`: whoever has a name there is a test subject.
- `faces_more.zip`: a named subject whose SHA-1 starts with 0 is a validation subject.
- People with one photo (of `aaf`, `scut` and `sasia_regions` one half, of all others three sixteenths) are
  kept for thresholds: impostor scores need no second photo.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Part = Literal["train", "validation", "test", "thresholds"]

# Sixteenths kept for thresholds. No network of this project has seen a photo of the first three sets.
KEPT = {"aaf": 8, "scut": 8, "sasia_regions": 8}
KEPT_OF_OTHERS = 3


def first_digit(name: str, *, salt: str = "") -> int:
    """The first hexadecimal digit of the SHA-1 of `salt + name`."""
    return int(hashlib.sha1((salt + name).encode(), usedforsecurity=False).hexdigest()[0], 16)


def part_of_single(name: str, of_set: str) -> Part:
    """Where the only photo of a person goes; `name`: the subject, or the photo where nobody is named."""
    kept = KEPT.get(of_set, KEPT_OF_OTHERS)
    return "thresholds" if first_digit(name, salt="thresholds:") < kept else "train"


def part_of_named(subject: str) -> Part:
    """Where a named subject of `faces_more.zip` with two or more photos goes."""
    return "validation" if first_digit(subject) == 0 else "train"
