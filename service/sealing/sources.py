"""Where the master key lies: in a file, in the environment, or in a file wrapped by a key service.

A source holds one key, or several during a rotation; the first is the newest.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

from service.sealing.files import write_private
from service.sealing.keys import KEY_BYTES, MasterKey, MasterKeyError, key_from_hex

KEY_FILE = "master.key"
# How long the absence of a key from its source is believed.
ASK_AGAIN_S = 0.2


class KeySource(Protocol):
    """Reads and keeps master keys. `where`: the place in words. `given`: somebody else keeps them."""

    where: str
    given: bool

    def read(self) -> list[bytes]:
        """The keys, newest first; none if there is none yet. Raises MasterKeyError."""

    def write(self, keys: list[bytes], *, first: bool = False) -> None:
        """Replaces the keys; with `first`, writes nothing if there are any. Raises MasterKeyError."""


class KeyService(Protocol):
    """A key management service that wraps the master key, so that its file alone opens nothing."""

    def wrap(self, key: bytes) -> str:
        """One line of text. Raises MasterKeyError."""

    def unwrap(self, line: str) -> bytes:
        """Raises MasterKeyError."""


class PlainLines:
    """Keys as hexadecimal digits, without a key service."""

    def wrap(self, key: bytes) -> str:
        """64 hexadecimal digits."""
        return key.hex()

    def unwrap(self, line: str) -> bytes:
        """Raises MasterKeyError."""
        try:
            return key_from_hex(line)
        except ValueError as error:
            raise MasterKeyError("a master key is 64 hexadecimal digits") from error


class GivenKeys:
    """Keys that the environment gives, between commas."""

    where = "HALFLIGHT_MASTER_KEY"
    given = True

    def __init__(self, text: str) -> None:
        self._text = text

    def read(self) -> list[bytes]:
        """Raises MasterKeyError."""
        return [PlainLines().unwrap(part.strip()) for part in self._text.split(",")]

    def write(self, keys: list[bytes], *, first: bool = False) -> None:  # noqa: ARG002 - as every source
        """Raises MasterKeyError, always: the environment is not ours to change."""
        raise MasterKeyError("HALFLIGHT_MASTER_KEY gives the key: change it there")


class KeyFile:
    """A file of one key a line, readable by its owner alone."""

    given = False

    def __init__(self, path: Path, service: KeyService | None = None) -> None:
        self._path, self._service = path, service or PlainLines()
        self.where = str(path)

    def read(self) -> list[bytes]:
        """Raises MasterKeyError."""
        try:
            text = self._path.read_text(encoding="ascii")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeError) as error:
            raise MasterKeyError(f"the master key in {self._path.name} cannot be read") from error
        if not text.strip():
            raise MasterKeyError(f"{self._path.name} holds no master key")
        return [self._service.unwrap(line.strip()) for line in text.splitlines() if line.strip()]

    def write(self, keys: list[bytes], *, first: bool = False) -> None:
        """Writes the file whole or not at all, and it lasts. Raises MasterKeyError."""
        lines = [self._service.wrap(key) for key in keys]
        try:
            write_private(self._path, "\n".join(lines) + "\n", first=first)
        except OSError as error:
            raise MasterKeyError(f"the master key cannot be written to {self._path.name}") from error


class MasterKeys:
    """The master keys that this process holds. Reads its source again when it meets an unknown key."""

    def __init__(self, source: KeySource) -> None:
        self.source = source
        self._held: dict[str, MasterKey] = {}
        self._read_s = -ASK_AGAIN_S

    def load(self) -> list[MasterKey]:
        """Reads the source; newest first. Raises MasterKeyError."""
        keys = [MasterKey(raw) for raw in self.source.read()]
        self._held = {key.key_id: key for key in keys}
        return keys

    def find(self, key_id: str) -> MasterKey:
        """Raises MasterKeyError if the source does not hold this key."""
        if key_id not in self._held and time.monotonic() - self._read_s >= ASK_AGAIN_S:
            # Not for each of a hundred thousand rows.
            self.load()
            if key_id not in self._held:
                self._read_s = time.monotonic()
        try:
            return self._held[key_id]
        except KeyError:
            raise MasterKeyError(
                f"the database is sealed under master key {key_id}, which {self.source.where} does not hold"
            ) from None

    def create(self) -> MasterKey:
        """Makes the first key, unless another process was faster. Raises MasterKeyError."""
        self.source.write([os.urandom(KEY_BYTES)], first=True)
        return self.load()[0]
