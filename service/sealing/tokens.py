"""Tokens: what stands for the id of a subject in every table, so that the id itself is never stored.

A token is HMAC-SHA-256 (RFC 2104) of the id under a random key of the database. Whoever has the key finds
a subject by its id; nobody gets from a token back to the id, which lies sealed under the subject's key.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from service.sealing.keys import KEY_BYTES, MasterKey, SealBroken, derive

# No id of a subject may hold it, and every one sorts before it (ASCII): a column shows which of both it has.
MARK = "~"
KIND = "id key"


class IdKey:
    """Makes the tokens of one database."""

    __slots__ = ("_answers", "_raw", "_subjects")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._subjects, self._answers = derive(raw, "subject token"), derive(raw, "answer token")

    @classmethod
    def new(cls) -> IdKey:
        """A random key."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def unwrap(cls, master: MasterKey, wrapped: bytes) -> IdKey:
        """Raises SealBroken."""
        raw = master.unwrap_bytes(wrapped, KIND)
        if len(raw) != KEY_BYTES:
            raise SealBroken("the key of ids has a wrong length")
        return cls(raw)

    def wrap(self, master: MasterKey) -> bytes:
        """The key as the database keeps it."""
        return master.wrap_bytes(self._raw, KIND)

    def token(self, subject_id: str) -> str:
        """33 characters that stand for an id; a token stays as it is, so that both name a subject."""
        if subject_id.startswith(MARK):
            return subject_id
        return MARK + hmac.digest(self._subjects, subject_id.encode(), hashlib.sha256)[:16].hex()

    def answer_token(self, scope: str, key: str) -> str:
        """65 characters that stand for an idempotency key, in which callers may put the id of a subject."""
        return MARK + hmac.digest(self._answers, f"{scope}\0{key}".encode(), hashlib.sha256).hex()

    def index_key(self, space_id: str) -> bytes:
        """The key of the transform that an index of this space's vectors is under. A rotation of the master
        key keeps it."""
        return derive(self._raw, f"vector index {space_id}")

    def collection(self, space_id: str) -> str:
        """The name under which another store keeps this space's vectors, which no other database has."""
        return "halflight_" + derive(self._raw, f"collection {space_id}").hex()[:32]
