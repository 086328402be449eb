"""The key book: the keys that open subjects in backups, in one file apart from backups and data.

A backup writes it whole, from the subjects that are enrolled then. An erasure overwrites the subject's
entry in place with zeros, which needs no secret. Two processes take turns with a lock beside the file.

    magic, length of the header, header (JSON), then entries of 76 bytes: id of the key, nonce, sealed key
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from faces.files import held
from faces.strict import Strict
from service.moving.archive import KEY_ID_BYTES
from service.moving.locks import For, Lock, Secret, lock, unlock
from service.moving.stream import ArchiveBroken, new_key

log = structlog.get_logger("halflight.moving")

MAGIC = b"halflight key book\n"
NONCE_BYTES = 12
ENTRY_BYTES = KEY_ID_BYTES + NONCE_BYTES + 32 + 16
FORGOTTEN = bytes(ENTRY_BYTES)


class BookHeader(Strict):
    """What anybody may read."""

    format: Literal[1] = 1
    lock: Lock


class KeyBook:
    """One key book. Every method blocks and raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, keys: Mapping[str, bytes], who: For) -> None:
        """Replaces the whole book. Raises LockError. The caller holds `turn`."""
        key = new_key()
        header = BookHeader(lock=lock(key, who)).model_dump_json().encode()
        partial = self._path.with_name(f".{self._path.name}.partial")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(MAGIC + len(header).to_bytes(4) + header)
                for key_id, one in keys.items():
                    raw, nonce = bytes.fromhex(key_id), os.urandom(NONCE_BYTES)
                    file.write(raw + nonce + AESGCM(key).encrypt(nonce, one, raw))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
        finally:
            partial.unlink(missing_ok=True)

    def read(self, secrets: Sequence[Secret]) -> dict[str, bytes]:
        """The keys of the subjects by their ids. Raises ArchiveBroken, LockError."""
        content = self._path.read_bytes()
        header, start = self._header(content)
        key, found = unlock(header.lock, secrets), {}
        for entry in _entries(content, start):
            raw, nonce, sealed = entry[:16], entry[16:28], entry[28:]
            if entry == FORGOTTEN:
                continue
            try:
                found[raw.hex()] = AESGCM(key).decrypt(nonce, sealed, raw)
            except InvalidTag as error:
                raise ArchiveBroken("an entry of the key book was changed") from error
        return found

    def forget(self, key_ids: Collection[str]) -> int:
        """Overwrites the entries of these keys; returns how many there were."""
        return self._forget(lambda key_id: key_id in key_ids)

    def keep_only(self, key_ids: Collection[str]) -> int:
        """Overwrites every other entry. The caller holds `turn`."""
        return self._overwrite(lambda key_id: key_id not in key_ids)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Lets no other process write the book meanwhile."""
        with held(self._path.with_name(f"{self._path.name}.lock"), mode=0o600):
            yield

    def _forget(self, gone: Callable[[str], bool]) -> int:
        if not self._path.exists():
            return 0
        with self.turn():
            return self._overwrite(gone)

    def _overwrite(self, gone: Callable[[str], bool]) -> int:
        count = 0
        with self._path.open("r+b") as file:
            content = file.read()
            _, start = self._header(content)
            for index, entry in enumerate(_entries(content, start)):
                if entry != FORGOTTEN and gone(entry[:KEY_ID_BYTES].hex()):
                    file.seek(start + index * ENTRY_BYTES)
                    file.write(FORGOTTEN)
                    count += 1
            file.flush()
            os.fsync(file.fileno())
        return count

    @staticmethod
    def _header(content: bytes) -> tuple[BookHeader, int]:
        if not content.startswith(MAGIC):
            raise ArchiveBroken("it is no key book of Halflight")
        begin = len(MAGIC) + 4
        start = begin + int.from_bytes(content[len(MAGIC) : begin])
        try:
            header = BookHeader.model_validate_json(content[begin:start])
        except ValidationError as error:
            raise ArchiveBroken("the header of the key book is damaged") from error
        if (len(content) - start) % ENTRY_BYTES:
            raise ArchiveBroken("the key book was cut off")
        return header, start


def forgetting(path: Path | None) -> Callable[[Sequence[str]], None] | None:
    """What an erasure calls with the keys that it shredded; None without a key book."""
    if path is None:
        return None

    def forget(key_ids: Sequence[str]) -> None:
        try:
            KeyBook(path).forget(set(key_ids))
        except (OSError, ArchiveBroken) as error:
            log.error(
                "the key book cannot be written: the next backup removes the keys", cause=type(error).__name__
            )

    return forget


def _entries(content: bytes, start: int) -> Iterator[bytes]:
    for at in range(start, len(content), ENTRY_BYTES):
        yield content[at : at + ENTRY_BYTES]
