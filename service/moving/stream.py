"""An authenticated stream of bytes in a file: a header that anybody may read, then sealed frames.

Each frame is sealed with AES-256-GCM under a key that the header's digest goes into. The nonce is the
number of the frame and whether it is the last one (the STREAM construction of Hoang, Reyhanitabar,
Rogaway and Vizár, 2015), so that frames that are missing, moved, repeated or cut off are noticed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.sealing.keys import KEY_BYTES

MAGIC = b"halflight archive\n"
FRAME_BYTES = 1 << 20
TAG_BYTES = 16
MAX_HEADER_BYTES = 64 << 10
SIZE_BYTES = 4


class ArchiveBroken(ValueError):
    """The file is no archive, was changed, or ends too early. Quotes nothing of it."""


class Sink(Protocol):
    """What an archive is written to: a file, or what sends it."""

    def write(self, data: bytes, /) -> object:
        """Takes all of `data`. Raises OSError."""


def write_header(file: Sink, header: bytes) -> bytes:
    """Writes what an archive begins with, and returns the digest that its frames are bound to."""
    start = MAGIC + len(header).to_bytes(SIZE_BYTES) + header
    file.write(start)
    return hashlib.sha256(start).digest()


def read_header(file: BinaryIO) -> tuple[bytes, bytes]:
    """The header, and the digest that the frames are bound to. Raises ArchiveBroken."""
    begin = file.read(len(MAGIC) + SIZE_BYTES)
    if not begin.startswith(MAGIC):
        raise ArchiveBroken("it is no archive of Halflight")
    size = int.from_bytes(begin[len(MAGIC) :])
    if len(begin) < len(MAGIC) + SIZE_BYTES or size > MAX_HEADER_BYTES:
        raise ArchiveBroken("its header is damaged")
    header = file.read(size)
    if len(header) < size:
        raise ArchiveBroken("it ends within its header")
    return header, hashlib.sha256(begin + header).digest()


class SealedWriter:
    """Seals what is written, a frame at a time. `close` seals the last frame and leaves the file open."""

    def __init__(self, file: Sink, key: bytes, bound: bytes) -> None:
        self._file, self._cipher = file, _cipher(key, bound)
        self._waiting, self._number = bytearray(), 0

    def write(self, data: bytes) -> None:
        """Raises OSError."""
        self._waiting += data
        # The last frame is sealed as such, so one frame always waits for what follows.
        while len(self._waiting) > FRAME_BYTES:
            self._seal(bytes(self._waiting[:FRAME_BYTES]), last=False)
            del self._waiting[:FRAME_BYTES]

    def close(self) -> None:
        """Raises OSError."""
        self._seal(bytes(self._waiting), last=True)
        self._waiting.clear()

    def _seal(self, plain: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), plain, None)
        self._file.write(len(sealed).to_bytes(SIZE_BYTES) + sealed)
        self._number += 1


def opened_frames(file: BinaryIO, key: bytes, bound: bytes) -> Iterator[bytes]:
    """The frames after the header, opened. Raises ArchiveBroken, OSError."""
    cipher, number = _cipher(key, bound), 0
    size = file.read(SIZE_BYTES)
    while True:
        length = int.from_bytes(size)
        if len(size) < SIZE_BYTES:
            raise ArchiveBroken("it was cut off: its end is missing")
        if not TAG_BYTES <= length <= FRAME_BYTES + TAG_BYTES:
            raise ArchiveBroken(f"it was changed, or is damaged, in part {number}")
        sealed, size = file.read(length), file.read(SIZE_BYTES)
        if len(sealed) < length:
            raise ArchiveBroken("it was cut off: its end is missing")
        last = not size
        try:
            yield cipher.decrypt(_nonce(number, last=last), sealed, None)
        except InvalidTag:
            raise _why(cipher, number, sealed, last=last) from None
        number += 1
        if last:
            return


def _why(cipher: AESGCM, number: int, sealed: bytes, *, last: bool) -> ArchiveBroken:
    """Tells a file that ends at a frame's end from one that was changed."""
    try:
        cipher.decrypt(_nonce(number, last=not last), sealed, None)
    except InvalidTag:
        return ArchiveBroken(f"it was changed, or is damaged, in part {number}")
    return ArchiveBroken("it was cut off: its end is missing" if last else "something was added to its end")


def new_key() -> bytes:
    """A random key for one archive."""
    return os.urandom(KEY_BYTES)


def _cipher(key: bytes, bound: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=bound, info=b"halflight archive stream 1").derive(key))


def _nonce(number: int, *, last: bool) -> bytes:
    return bytes([last]) + number.to_bytes(11)
