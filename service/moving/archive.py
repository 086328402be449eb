"""The archive of a backup: an open header, then sealed records, the last of which counts the others.

Each subject is one record, sealed once more under a key that is derived from the subject's own
(`SubjectKey.archive_key`). Those keys lie in a key book apart from the archive, which an erasure reaches,
or, if so asked, within the archive, where none does.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from faces.strict import Strict
from service.moving.locks import Lock, Secret, unlock
from service.moving.stream import ArchiveBroken, SealedWriter, Sink, opened_frames, read_header, write_header
from service.sealing.keys import SealBroken, SubjectKey

FORMAT = 1
KEY_ID_BYTES = 16
MAX_RECORD_BYTES = 1 << 30
PLACE = "archived subject"


class Kind(Enum):
    """What a record holds. SUBJECT: the id of its key and the sealed subject. KEY: such an id and key."""

    SPACES = b"P"
    SUBJECT = b"S"
    KEY = b"K"
    AUDIT = b"A"
    API_KEYS = b"C"
    END = b"E"


class Header(Strict):
    """What anybody may read. `keys`: where the keys of its subjects lie."""

    format: Literal[1] = 1
    archive_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    made_at: str
    made_by: str
    keys: Literal["book", "inside"]
    lock: Lock


@dataclass(slots=True)
class Tally:
    """Counts records and digests them (SHA-256), by kind."""

    counts: Counter[str] = field(default_factory=Counter)
    _digests: dict[str, hashlib._Hash] = field(default_factory=dict)

    def take(self, kind: Kind, payload: bytes) -> None:
        self.counts[kind.name] += 1
        digest = self._digests.setdefault(kind.name, hashlib.sha256())
        digest.update(len(payload).to_bytes(8) + payload)

    def summary(self) -> dict[str, dict[str, object]]:
        return {
            name: {"records": self.counts[name], "sha256": digest.hexdigest()}
            for name, digest in sorted(self._digests.items())
        }


class ArchiveWriter:
    """Writes the records of one archive."""

    def __init__(self, file: Sink, header: Header, key: bytes) -> None:
        bound = write_header(file, header.model_dump_json().encode())
        self._stream, self._header, self.tally = SealedWriter(file, key, bound), header, Tally()

    def add(self, kind: Kind, payload: bytes) -> None:
        """Raises OSError."""
        self.tally.take(kind, payload)
        self._put(kind, payload)

    def add_subject(self, key: SubjectKey, plain: bytes) -> None:
        """Seals a subject under the key that is derived from its own. Raises OSError."""
        derived = SubjectKey(key.key_id, key.archive_key())
        self.add(
            Kind.SUBJECT, bytes.fromhex(key.key_id) + derived.seal(plain, PLACE, self._header.archive_id)
        )
        if self._header.keys == "inside":
            self.add(Kind.KEY, bytes.fromhex(key.key_id) + key.archive_key())

    def close(self) -> None:
        """Writes the end, without which nobody takes the archive. Raises OSError."""
        self._put(Kind.END, json.dumps(self.tally.summary(), sort_keys=True).encode())
        self._stream.close()

    def _put(self, kind: Kind, payload: bytes) -> None:
        self._stream.write(kind.value + len(payload).to_bytes(4) + payload)


class ArchiveReader:
    """An archive that was opened. `missing`: subjects whose key nobody holds any more."""

    def __init__(self, path: Path, secrets: Sequence[Secret]) -> None:
        """Raises ArchiveBroken, LockError, OSError."""
        self._path = path
        with path.open("rb") as file:
            raw, _ = read_header(file)
        try:
            if json.loads(raw).get("format") != FORMAT:
                raise ArchiveBroken("another version of Halflight made it: use that one, or a newer one")
            self.header = Header.model_validate_json(raw)
        except (ValueError, AttributeError, ValidationError) as error:
            if isinstance(error, ArchiveBroken):
                raise
            raise ArchiveBroken("its header is damaged") from error
        self._key = unlock(self.header.lock, secrets)

    def records(self) -> Iterator[tuple[Kind, bytes]]:
        """Every record but the end, which must fit them. Raises ArchiveBroken, OSError."""
        tally, ended = Tally(), False
        for kind, payload in self._all():
            if ended:
                raise ArchiveBroken("it goes on after its end")
            if kind is Kind.END:
                ended = True
                if json.loads(payload) != tally.summary():
                    raise ArchiveBroken("its counts or digests do not fit what it holds")
                continue
            tally.take(kind, payload)
            yield kind, payload
        if not ended:
            raise ArchiveBroken("its end is missing")

    def inner_keys(self) -> dict[str, bytes]:
        """The keys of subjects that the archive itself holds. Raises ArchiveBroken, OSError."""
        return dict(split(payload) for kind, payload in self.records() if kind is Kind.KEY)

    def open_subject(self, payload: bytes, keys: dict[str, bytes]) -> bytes | None:
        """A subject's record, opened; None if its key is gone. Raises ArchiveBroken."""
        key_id, sealed = split(payload)
        if (key := keys.get(key_id)) is None:
            return None
        try:
            return SubjectKey(key_id, key).open(sealed, PLACE, self.header.archive_id)
        except SealBroken as error:
            raise ArchiveBroken("a subject in it does not open with the key of its id") from error

    def _all(self) -> Iterator[tuple[Kind, bytes]]:
        with self._path.open("rb") as file:
            _, bound = read_header(file)
            waiting = bytearray()
            for frame in opened_frames(file, self._key, bound):
                waiting += frame
                start = 0
                while len(waiting) - start >= 5:
                    size = int.from_bytes(waiting[start + 1 : start + 5])
                    if size > MAX_RECORD_BYTES:
                        raise ArchiveBroken("a record in it is too long")
                    if len(waiting) - start < 5 + size:
                        break
                    yield (
                        Kind(bytes(waiting[start : start + 1])),
                        bytes(waiting[start + 5 : start + 5 + size]),
                    )
                    start += 5 + size
                del waiting[:start]
            if waiting:
                raise ArchiveBroken("it ends within a record")


def split(payload: bytes) -> tuple[str, bytes]:
    """The id of a key, and what follows it."""
    return payload[:KEY_ID_BYTES].hex(), payload[KEY_ID_BYTES:]
