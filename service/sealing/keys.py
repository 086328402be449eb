"""Seals what is stored about a subject under a key of the subject, and those keys under a master key.

Both are AES-256-GCM with a random nonce of 96 bits (NIST SP 800-38D, 8.2.2, which limits one key to
2^32 values). The associated data name the place of a value, so that it opens there and nowhere else.
Whoever deletes the wrapped key of a subject makes every copy of its values unreadable, in whatever
journal, dead row or backup of the tables it still lies, unless the copy holds the wrapped key as well.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12


def key_from_hex(text: str) -> bytes:
    """The bytes of 64 hexadecimal digits. Raises ValueError, which quotes none of them."""
    key = bytes.fromhex(text.strip())
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes")
    return key


class SealBroken(ValueError):
    """A value does not open: another key sealed it, it was changed, or it was moved. Quotes nothing."""


class MasterKeyError(ValueError):
    """A master key is missing, malformed, or not the one that the database needs. Quotes no key."""


class SubjectKey:
    """The data key of one subject. `key_id`: random, names the key and nobody."""

    __slots__ = ("_cipher", "_key", "key_id")

    def __init__(self, key_id: str, key: bytes) -> None:
        self.key_id, self._key, self._cipher = key_id, key, AESGCM(key)

    @classmethod
    def new(cls) -> SubjectKey:
        """A random key."""
        return cls(os.urandom(16).hex(), os.urandom(KEY_BYTES))

    def seal(self, plain: bytes, kind: str, *place: str) -> bytes:
        """Nonce, ciphertext and tag. `kind` and `place` say which value this is, such as its row."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, _associated(kind, place))

    def open(self, sealed: bytes, kind: str, *place: str) -> bytes:
        """What was sealed for this place. Raises SealBroken."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _associated(kind, place))
        except (InvalidTag, ValueError) as error:
            raise SealBroken(f"a sealed {kind} does not open here") from error

    def raw_pieces(self) -> tuple[bytes, ...]:
        """The key itself, for the search that shows that it is gone; never log or store it."""
        return (self._key, self._key.hex().encode())

    def archive_key(self) -> bytes:
        """The key that this subject is sealed under in backups; it opens nothing in the database."""
        return derive(self._key, "archived subject")

    def pseudonym(self, text: str) -> str:
        """32 hexadecimal digits that stand for `text`; without the key nobody can tell for which.

        The same text gives the same pseudonym as long as the subject lives (HMAC-SHA-256).
        """
        secret = derive(self._key, "pseudonym")
        return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:32]


class MasterKey:
    """Wraps the keys of subjects. `key_id` names it and is the check value that a database keeps."""

    __slots__ = ("_cipher", "key_id", "raw")

    def __init__(self, raw: bytes) -> None:
        """Raises MasterKeyError."""
        if len(raw) != KEY_BYTES:
            raise MasterKeyError(f"a master key has {KEY_BYTES} bytes")
        self.raw = raw
        self.key_id = derive(raw, "master key id")[:8].hex()
        self._cipher = AESGCM(derive(raw, "wrap subject keys"))

    def wrap(self, token: str, key: SubjectKey) -> bytes:
        """The key of a subject as the database keeps it, bound to the subject's token and its own name."""
        return self.wrap_bytes(key._key, "subject key", token, key.key_id)

    def unwrap(self, token: str, key_id: str, wrapped: bytes) -> SubjectKey:
        """Raises SealBroken."""
        return SubjectKey(key_id, self.unwrap_bytes(wrapped, "subject key", token, key_id))

    def wrap_bytes(self, raw: bytes, kind: str, *place: str) -> bytes:
        """Another key, bound to its kind and its place."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, raw, _associated(kind, place))

    def unwrap_bytes(self, wrapped: bytes, kind: str, *place: str) -> bytes:
        """Raises SealBroken."""
        try:
            return self._cipher.decrypt(
                wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _associated(kind, place)
            )
        except (InvalidTag, ValueError) as error:
            raise SealBroken(f"the {kind} does not open") from error


def _associated(kind: str, place: tuple[str, ...]) -> bytes:
    return "\0".join(("halflight 1", kind, *place)).encode()


def derive(key: bytes, purpose: str) -> bytes:
    """A key for one purpose (HKDF, RFC 5869)."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"halflight {purpose}".encode()).derive(key)
