"""Counts the scans of a JPEG: each makes a decoder pass over the whole picture, and a few bytes make one."""

from __future__ import annotations

import re

# Within entropy-coded data, 0xFF is followed by a stuffed zero or a restart; else it begins a marker
# (ITU-T T.81, B.1.1.5).
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
START_OF_SCAN, END_OF_IMAGE, STANDALONE = 0xDA, 0xD9, (0x01, *range(0xD0, 0xD9))
# Encoders write 1 to 12 scans, or up to about 20 with custom scripts.
MAX_SCANS = 64


def count_scans(data: bytes) -> int:
    """Returns the scans of the first picture, `MAX_SCANS` + 1 for more; walks the markers of broken files."""
    scans, at = 0, 2
    while scans <= MAX_SCANS and (found := _MARKER.search(data, at)) is not None:
        code, at = data[found.start() + 1], found.end()
        if code == END_OF_IMAGE:
            break
        if code not in STANDALONE:
            scans += code == START_OF_SCAN
            at += int.from_bytes(data[at : at + 2], "big")
    return scans
