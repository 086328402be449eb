"""The files of one space's snapshot: a head, sealed segments, and the files of rows that these refer to."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.gallery.rows import ROWS_SUFFIX
from service.gallery.segments import Segment
from service.sealing.keys import SealBroken
from service.sealing.segments import open_part, seal_part
from service.store.snapshot_keys import SnapshotKey

HEAD, LOCK, SEGMENT_SUFFIX, PARTIAL_SUFFIX = "head", "lock", ".segment", ".partial"


class SnapshotRefused(ValueError):
    """A snapshot is not used. `reason`: one of a few words, for a metric."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Part:
    """A sealed segment: its file, the key that it opens with, and the files of rows that it refers to."""

    file: str
    key_id: str
    rows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """`seq`: the log after it leads from the snapshot to the present. `parts`: by segment."""

    seq: int
    parts: Mapping[int, Part]

    def names(self) -> set[str]:
        """Every file that it refers to."""
        return {name for part in self.parts.values() for name in (part.file, *part.rows)}


class SnapshotFiles:
    """`directory`: of one space. One process at a time writes there. Methods block, and raise OSError."""

    def __init__(self, directory: Path, space_id: str) -> None:
        self.directory, self.space_id = directory, space_id
        self._lock: int | None = None

    def head_key(self) -> str | None:
        """The name of the key that the head opens with; None if there is no snapshot.

        Raises SnapshotRefused.
        """
        try:
            with (self.directory / HEAD).open("rb") as file:
                facts = json.loads(file.readline())
                key_id, space_id = str(facts["key"]), facts["space"]
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise SnapshotRefused("damaged") from error
        if space_id != self.space_id:
            raise SnapshotRefused("another space")
        return key_id

    def read_head(self, key: SnapshotKey) -> Head:
        """Raises SnapshotRefused."""
        first, _, sealed = (self.directory / HEAD).read_bytes().partition(b"\n")
        try:
            if json.loads(first)["key"] != key.key_id:
                raise SnapshotRefused("replaced meanwhile")
            facts = json.loads(open_part(key.raw, sealed, HEAD, self.space_id, key.key_id))
        except (SealBroken, ValueError, KeyError) as error:
            raise SnapshotRefused("damaged") from error
        parts = {
            int(n): Part(file, key_id, tuple(rows)) for n, (file, key_id, rows) in facts["parts"].items()
        }
        return Head(facts["seq"], parts)

    def write_head(self, head: Head, key: SnapshotKey) -> None:
        """Replaces the head; readers and kills find the old one or the new one."""
        parts = {n: (part.file, part.key_id, part.rows) for n, part in head.parts.items()}
        plain = json.dumps({"seq": head.seq, "parts": parts}).encode()
        clear = json.dumps({"key": key.key_id, "space": self.space_id}).encode()
        sealed = seal_part(key.raw, plain, HEAD, self.space_id, key.key_id)
        # The names of the files that it refers to must last before it does.
        self._sync()
        self._write(HEAD + PARTIAL_SUFFIX, clear + b"\n" + sealed)
        (self.directory / (HEAD + PARTIAL_SUFFIX)).replace(self.directory / HEAD)
        self._sync()

    def read_segments(
        self, parts: Mapping[int, Part], keys: Mapping[int, SnapshotKey], dimension: int
    ) -> Iterator[Segment]:
        """Raises SealBroken, and ValueError for one that holds something else."""
        for number, part in parts.items():
            sealed = (self.directory / part.file).read_bytes()
            plain = open_part(keys[number].raw, sealed, *self._place(number, part.file))
            yield Segment.unpack(plain, dimension)

    def write_segment(self, number: int, segment: Segment, key: SnapshotKey) -> Part:
        """Writes a new file, which nothing refers to before the next head."""
        name = f"{os.urandom(8).hex()}{SEGMENT_SUFFIX}"
        self._write(name, seal_part(key.raw, segment.pack(), *self._place(number, name)))
        return Part(name, key.key_id, segment.files)

    def remove_others(self, names: Iterable[str]) -> None:
        """Removes what neither the head nor the gallery needs any more, as kills leave it."""
        kept = set(names)
        for path in self.directory.iterdir():
            if path.suffix in (SEGMENT_SUFFIX, ROWS_SUFFIX, PARTIAL_SUFFIX) and path.name not in kept:
                path.unlink(missing_ok=True)

    def lock(self) -> bool:
        """Whether this process is the one that writes here, from now on until it ends or `close`."""
        if self._lock is None:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._lock = descriptor
        return True

    def close(self) -> None:
        """Lets another process write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _place(self, number: int, name: str) -> tuple[str, ...]:
        return ("segment", self.space_id, str(number), name)

    def _write(self, name: str, data: bytes) -> None:
        descriptor = os.open(
            self.directory / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _sync(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
