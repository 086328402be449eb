"""Creates, lists, revokes and checks API keys."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from service.store.database import Database
from service.store.records import StoredKey

PREFIX = "hf"
SECRET_BYTES = 32
TOKEN = re.compile(rf"{PREFIX}_[0-9a-f]{{12}}_[0-9a-f]{{{2 * SECRET_BYTES}}}")
# Another process may accept a revoked key for this long.
CACHE_S = 3.0
MAX_CACHED_TOKENS = 4096
COMMAND_LINE = "command line"


class Role(StrEnum):
    """What a key may do; each role includes the rights of the one before it."""

    PROBE = "probe"
    OPERATOR = "operator"
    ADMIN = "admin"


_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request."""

    key_id: str
    role: Role
    label: str

    def allows(self, role: Role) -> bool:
        """Returns whether the caller has the rights of `role`."""
        return _RANK[self.role] >= _RANK[role]


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key. `token` is shown once; the database stores only its digest."""

    key_id: str
    role: Role
    label: str
    token: str

    def __repr__(self) -> str:
        return f"CreatedKey({self.key_id!r}, {self.role!r}, {self.label!r}, token=...)"


def token_digest(token: str) -> str:
    """Computes the SHA-256 of a token, hexadecimal.

    A slow hash would add nothing: the secret is 256 random bits and cannot be guessed.
    """
    return hashlib.sha256(token.encode()).hexdigest()


async def create(db: Database, *, role: Role, label: str = "", actor: str = COMMAND_LINE) -> CreatedKey:
    """Creates a key, whose token is only in the result. Raises StoreError."""
    key_id = secrets.token_hex(6)
    token = f"{PREFIX}_{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    async with db.write() as uow:
        await uow.keys.add(StoredKey(key_id, role.value, label, token_digest(token), datetime.now(UTC), None))
        await uow.audit.add(actor, "key.create", None, {"key_id": key_id, "role": role.value})
        await uow.commit()
    return CreatedKey(key_id, role, label, token)


async def list_all(db: Database) -> list[StoredKey]:
    """Returns every key, revoked ones too, oldest first."""
    async with db.read() as uow:
        return await uow.keys.all()


async def revoke(db: Database, key_id: str, *, actor: str = COMMAND_LINE) -> bool:
    """Revokes a key; returns false if there is no such active key. A service uses `KeyRing.revoke`."""
    async with db.write() as uow:
        done = await uow.keys.revoke(key_id)
        if done:
            await uow.audit.add(actor, "key.revoke", None, {"key_id": key_id})
            await uow.commit()
    return done


@dataclass(frozen=True, slots=True)
class _CachedPrincipal:
    principal: Principal | None
    until_s: float


class KeyRing:
    """Checks tokens, and caches each result for `CACHE_S`, so that a busy key costs no SQL."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._cache: dict[str, _CachedPrincipal] = {}
        self._any_ever: tuple[bool, float] = (False, 0.0)
        self._changes = 0

    async def authenticate(self, token: str) -> Principal | None:
        """Returns the owner of a token, None if the token is unknown or revoked. Raises StoreError."""
        if TOKEN.fullmatch(token) is None:
            # No key of ours looks like this: a guess costs no SQL and no place in the cache.
            return None
        digest, now, changes = token_digest(token), time.monotonic(), self._changes
        cached = self._cache.get(digest)
        if cached is not None and now < cached.until_s:
            return cached.principal
        async with self._db.read() as uow:
            stored = await uow.keys.find(digest)
        principal = None
        if stored is not None and stored.revoked_at is None:
            principal = Principal(stored.key_id, Role(stored.role), stored.label)
        if len(self._cache) >= MAX_CACHED_TOKENS:
            self._cache.clear()
        # A result read before a revocation must not be cached after it.
        if changes == self._changes:
            self._cache[digest] = _CachedPrincipal(principal, now + CACHE_S)
        return principal

    async def any_ever(self) -> bool:
        """Returns whether a key was ever made, at most `CACHE_S` old; true stays. Raises StoreError."""
        known, until_s = self._any_ever
        now, changes = time.monotonic(), self._changes
        if not known and now >= until_s:
            async with self._db.read() as uow:
                known = await uow.keys.any_ever()
            if changes == self._changes:
                self._any_ever = (known, now + CACHE_S)
        return known

    async def create(self, *, role: Role, label: str = "", actor: str) -> CreatedKey:
        """Creates a key, valid at once in this process. Raises StoreError."""
        made = await create(self._db, role=role, label=label, actor=actor)
        self._clear_cache()
        return made

    async def revoke(self, key_id: str, *, actor: str) -> bool:
        """Revokes a key at once in this process, within `CACHE_S` in others.

        Returns false if there is no such active key.
        """
        done = await revoke(self._db, key_id, actor=actor)
        self._clear_cache()
        return done

    def _clear_cache(self) -> None:
        self._changes += 1
        self._cache.clear()
        self._any_ever = (self._any_ever[0], 0.0)
