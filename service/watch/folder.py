"""Reads a folder of images as the frames of one camera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np

from service.watch.config import FolderSource
from service.watch.frames import Frame, Pixels, SourceError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm"})
LOOK_EVERY_S = 0.5


class FolderReader:
    """Images in the order of their names. They wait for whoever looks at them."""

    def __init__(self, source: FolderSource) -> None:
        self._source, self.live = source, False
        self.unreadable = 0

    def frames(self) -> Iterator[Frame]:
        """One frame of each image, `interval_s` apart; others are counted. Raises SourceError."""
        source, last, number = self._source, "", 0
        if not source.path.is_dir():
            raise SourceError("the folder is not there")
        while True:
            for path in self._new(last):
                last = path.name
                pixels = self._read(path)
                if pixels is None:
                    self.unreadable += 1
                    continue
                about = path.stat()
                seen_at = datetime.fromtimestamp(about.st_mtime, UTC)
                place = f"{path.name}:{about.st_size}:{about.st_mtime_ns}"
                yield Frame(pixels, number * source.interval_s, seen_at, place)
                number += 1
            if not source.follow:
                return
            time.sleep(LOOK_EVERY_S)

    def _new(self, last: str) -> list[Path]:
        settled = time.time() - self._source.settle_s
        found = [one for one in self._source.path.iterdir() if one.suffix.lower() in SUFFIXES]
        later = sorted(one for one in found if one.name > last and one.is_file())
        if not self._source.follow:
            return later
        # What is still being written stops those after it, so that the order stays.
        ready: list[Path] = []
        for one in later:
            if one.stat().st_mtime > settled:
                break
            ready.append(one)
        return ready

    def _read(self, path: Path) -> Pixels | None:
        grey = self._source.spectrum == "nir"
        data = np.frombuffer(path.read_bytes(), np.uint8)
        if not data.size:
            return None
        read = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
        return None if read is None else np.asarray(read, np.uint8)
