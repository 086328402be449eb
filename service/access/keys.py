"""API keys: made and revoked by an operator, checked on every request."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from service.store.database import Database
from service.store.records import StoredKey

PREFIX = "hf"
SECRET_BYTES = 32
# How long another process may still accept a revoked key.
CACHE_S = 3.0
CACHED = 4096
COMMAND_LINE = "command line"


class Role(StrEnum):
    """What a key may do; each role may do all that the one before it may."""

    PROBE = "probe"
    OPERATOR = "operator"
    ADMIN = "admin"


_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    key_id: str
    role: Role
    label: str

    def allows(self, role: Role) -> bool:
        return _RANK[self.role] >= _RANK[role]


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key. `token` is shown once and stored nowhere."""

    key_id: str
    role: Role
    label: str
    token: str

    def __repr__(self) -> str:
        return f"CreatedKey({self.key_id!r}, {self.role!r}, {self.label!r}, token=...)"


def digest_of(token: str) -> str:
    """SHA-256 of the token. A slow hash would add nothing: the secret is 256 random bits, not a
    password that can be guessed."""
    return hashlib.sha256(token.encode()).hexdigest()


async def create(db: Database, *, role: Role, label: str = "", actor: str = COMMAND_LINE) -> CreatedKey:
    """Make a key; its token is in the answer and nowhere else. Raises StoreError."""
    key_id = secrets.token_hex(6)
    token = f"{PREFIX}_{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    async with db.write() as uow:
        await uow.keys.add(StoredKey(key_id, role.value, label, digest_of(token), datetime.now(UTC), None))
        await uow.audit.add(actor, "key.create", None, {"key_id": key_id, "role": role.value})
        await uow.commit()
    return CreatedKey(key_id, role, label, token)


async def list_all(db: Database) -> list[StoredKey]:
    """Every key, revoked ones too, oldest first."""
    async with db.read() as uow:
        return await uow.keys.all()


async def revoke(db: Database, key_id: str, *, actor: str = COMMAND_LINE) -> bool:
    """False where there is no such active key. Inside a service, use `KeyRing.revoke`."""
    async with db.write() as uow:
        done = await uow.keys.revoke(key_id)
        if done:
            await uow.audit.add(actor, "key.revoke", None, {"key_id": key_id})
            await uow.commit()
    return done


@dataclass(frozen=True, slots=True)
class _Seen:
    principal: Principal | None
    until_s: float


class KeyRing:
    """Checks tokens, and remembers each answer for `CACHE_S` so that a busy key costs no SQL."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._seen: dict[str, _Seen] = {}
        self._any: tuple[bool, float] = (False, 0.0)
        self._changes = 0

    async def authenticate(self, token: str) -> Principal | None:
        """Whose token this is; None for an unknown or revoked one. Raises StoreError."""
        digest, now, changes = digest_of(token), time.monotonic(), self._changes
        seen = self._seen.get(digest)
        if seen is not None and now < seen.until_s:
            return seen.principal
        async with self._db.read() as uow:
            stored = await uow.keys.find(digest)
        principal = None
        if stored is not None and stored.revoked_at is None:
            principal = Principal(stored.key_id, Role(stored.role), stored.label)
        if len(self._seen) >= CACHED:
            self._seen.clear()
        # What was read before a revocation must not be remembered after it.
        if changes == self._changes:
            self._seen[digest] = _Seen(principal, now + CACHE_S)
        return principal

    async def any_active(self) -> bool:
        """Whether an active key exists, known to within `CACHE_S`. Raises StoreError."""
        known, until_s = self._any
        now, changes = time.monotonic(), self._changes
        if now >= until_s:
            async with self._db.read() as uow:
                known = await uow.keys.any_active()
            if changes == self._changes:
                self._any = (known, now + CACHE_S)
        return known

    async def create(self, *, role: Role, label: str = "", actor: str) -> CreatedKey:
        """Make a key that counts at once in this process. Raises StoreError."""
        made = await create(self._db, role=role, label=label, actor=actor)
        self._forget()
        return made

    async def revoke(self, key_id: str, *, actor: str) -> bool:
        """Revoke at once in this process, within `CACHE_S` in others; False where there is none."""
        done = await revoke(self._db, key_id, actor=actor)
        self._forget()
        return done

    def _forget(self) -> None:
        self._changes += 1
        self._seen.clear()
        self._any = (False, 0.0)
