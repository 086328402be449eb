"""Keeps on disk what was decided to be sent, until the service has answered it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

SUFFIX = ".track"
MIB = 1 << 20


class Waiting(BaseModel):
    """A request about a track. `number`: its place in the spool. `final`: see `TrackOptions`.

    `source`: the camera; the options are those of the source when the track was decided to be sent.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )

    number: int
    source: str
    track: str
    final: bool
    seen_at: datetime
    spectrum: str
    turn: str
    fmr: float | None
    agree: int | None
    quiet_s: float
    frames: tuple[bytes, ...]

    @property
    def idempotency_key(self) -> str:
        """The same for the same track, whoever sends it how often."""
        return f"{self.source}/{self.track}/{'final' if self.final else 'early'}"


@dataclass
class Spool:
    """A directory that only its owner reads, `most_bytes` at most: beyond that the oldest requests go.

    `dropped`: those that went so; `spoilt`: those that could not be read.
    """

    folder: Path
    most_bytes: int
    dropped: int = 0
    spoilt: int = 0
    _waiting: list[int] = field(default_factory=list)
    _held: set[int] = field(default_factory=set)
    _next: int = 1
    _news: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self.folder.glob("*.part"):
            left.unlink()
        self._waiting = sorted(
            int(one.stem) for one in self.folder.glob(f"*{SUFFIX}") if one.stem.isdecimal()
        )
        self._next = self._waiting[-1] + 1 if self._waiting else 1

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: Waiting) -> Waiting:
        """Writes a request to the disk, and returns it with its number. Raises OSError."""
        with self._news:
            kept = waiting.model_copy(update={"number": self._next})
            self._next += 1
            data = kept.model_dump_json().encode()
            self._make_room(len(data))
            part = self.folder / f"{kept.number:012d}.part"
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._path(kept.number))
            self._sync()
            self._waiting.append(kept.number)
            self._news.notify_all()
            return kept

    def first(self, timeout_s: float) -> Waiting | None:
        """The oldest request, which stays until `done`; None if none came in time."""
        with self._news:
            if not self._waiting:
                self._news.wait(timeout_s)
            while self._waiting:
                number = self._waiting[0]
                try:
                    read = Waiting.model_validate_json(self._path(number).read_bytes())
                except (OSError, ValidationError):
                    self.spoilt += 1
                    self._forget(number)
                    continue
                self._held = {number}
                return read
            return None

    def done(self, number: int) -> None:
        """Forgets a request that has its answer."""
        with self._news:
            self._held.discard(number)
            if number in self._waiting:
                self._forget(number)

    def _forget(self, number: int) -> None:
        self._waiting.remove(number)
        self._path(number).unlink(missing_ok=True)

    def _make_room(self, needed: int) -> None:
        sizes = {one: self._path(one).stat().st_size for one in self._waiting if self._path(one).exists()}
        while sizes and sum(sizes.values()) + needed > self.most_bytes:
            oldest = min((one for one in sizes if one not in self._held), default=None)
            if oldest is None:
                return
            del sizes[oldest]
            self._forget(oldest)
            self.dropped += 1

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}{SUFFIX}"

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
