"""Locks the key of an archive for those who may open it: a passphrase, or the owner of a key pair.

A passphrase goes through scrypt (RFC 7914). A recipient is an X25519 public key (RFC 7748): an archive
key is wrapped under what an ephemeral key and the recipient's make together, as HKDF (RFC 5869) derives
it. Whoever writes for a recipient needs nothing secret.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import Field

from faces.strict import Strict
from service.key_file import KeyFileError, parse_key
from service.sealing.keys import KEY_BYTES

WHAT = "a backup key"
SHORTEST_PASSPHRASE = 12
# 128 MiB and some tenths of a second for each guess.
LOG2_N, SCRYPT_R, SCRYPT_P = 17, 8, 1
NONCE_BYTES = 12
BOUND = b"halflight archive key 1"

Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$", max_length=256)]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LockError(ValueError):
    """A passphrase or key is unfit, or none that was given opens the lock. Quotes no secret."""


@dataclass(frozen=True, slots=True, repr=False)
class Passphrase:
    """Raises LockError if it is too short to withstand guesses."""

    text: str

    def __post_init__(self) -> None:
        if len(self.text) < SHORTEST_PASSPHRASE:
            raise LockError(f"a passphrase has at least {SHORTEST_PASSPHRASE} characters")


@dataclass(frozen=True, slots=True)
class Recipient:
    """The public half of a key pair, 64 hexadecimal digits. Raises LockError if it is none."""

    public: str

    def __post_init__(self) -> None:
        try:
            parse_key(self.public, "a recipient")
        except KeyFileError as error:
            raise LockError(str(error)) from error


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The private half: 32 bytes."""

    private: bytes

    @classmethod
    def read(cls, path: Path) -> Identity:
        """Raises LockError if the file holds no key, OSError if it cannot be read."""
        try:
            return cls(parse_key(path.read_text(encoding="ascii"), WHAT))
        except (KeyFileError, UnicodeError) as error:
            raise LockError(f"{path.name} holds no backup key: it is 64 hexadecimal digits") from error

    @property
    def recipient(self) -> Recipient:
        key = X25519PrivateKey.from_private_bytes(self.private)
        return Recipient(key.public_key().public_bytes_raw().hex())


For = Passphrase | Recipient
Secret = Passphrase | Identity


class PassphraseLock(Strict):
    """`wrapped`: the archive key under what scrypt makes of the passphrase and `salt`."""

    kind: Literal["passphrase"] = "passphrase"
    salt: Hex32
    log2_n: Annotated[int, Field(ge=14, le=20)]
    wrapped: Hex


class RecipientLock(Strict):
    """`wrapped`: the archive key under what `ephemeral` and `recipient` make together."""

    kind: Literal["recipient"] = "recipient"
    recipient: Hex32
    ephemeral: Hex32
    wrapped: Hex


Lock = Annotated[PassphraseLock | RecipientLock, Field(discriminator="kind")]


def lock(key: bytes, who: For) -> PassphraseLock | RecipientLock:
    """Wraps `key` (32 bytes) so that `who` can open it. A passphrase takes some tenths of a second."""
    if isinstance(who, Passphrase):
        salt = os.urandom(KEY_BYTES)
        wrapped = _wrap(_stretch(who, salt, LOG2_N), key)
        return PassphraseLock(salt=salt.hex(), log2_n=LOG2_N, wrapped=wrapped.hex())
    ephemeral = X25519PrivateKey.generate()
    public, theirs = ephemeral.public_key().public_bytes_raw(), bytes.fromhex(who.public)
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError as error:
        raise LockError("the recipient is no usable public key") from error
    wrapped = _wrap(_agree(shared, public, theirs), key)
    return RecipientLock(recipient=who.public.lower(), ephemeral=public.hex(), wrapped=wrapped.hex())


def unlock(locked: PassphraseLock | RecipientLock, secrets: Sequence[Secret]) -> bytes:
    """The key that was locked. Raises LockError, which says what is wanted, if no secret opens it."""
    fitting = [one for one in secrets if isinstance(one, Passphrase) == (locked.kind == "passphrase")]
    for secret in fitting:
        try:
            return _open(locked, secret)
        except (InvalidTag, ValueError):
            continue
    if isinstance(locked, RecipientLock):
        what = "another key" if fitting else "a key, and none was given"
        raise LockError(f"it is locked for {what}: its recipient is {locked.recipient}")
    raise LockError(
        "the passphrase does not open it" if fitting else "it is locked with a passphrase: give one"
    )


def _open(locked: PassphraseLock | RecipientLock, secret: Secret) -> bytes:
    wrapped = bytes.fromhex(locked.wrapped)
    if isinstance(locked, PassphraseLock):
        assert isinstance(secret, Passphrase)  # noqa: S101 - `unlock` chose it
        return _unwrap(_stretch(secret, bytes.fromhex(locked.salt), locked.log2_n), wrapped)
    assert isinstance(secret, Identity)  # noqa: S101 - `unlock` chose it
    theirs = bytes.fromhex(locked.ephemeral)
    private = X25519PrivateKey.from_private_bytes(secret.private)
    shared = private.exchange(X25519PublicKey.from_public_bytes(theirs))
    return _unwrap(_agree(shared, theirs, bytes.fromhex(secret.recipient.public)), wrapped)


def _stretch(passphrase: Passphrase, salt: bytes, log2_n: int) -> bytes:
    return Scrypt(salt, KEY_BYTES, n=1 << log2_n, r=SCRYPT_R, p=SCRYPT_P).derive(passphrase.text.encode())


def _agree(shared: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=ephemeral + recipient, info=BOUND).derive(shared)


def _wrap(under: bytes, key: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(under).encrypt(nonce, key, BOUND)


def _unwrap(under: bytes, wrapped: bytes) -> bytes:
    return AESGCM(under).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], BOUND)
