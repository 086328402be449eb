"""Creates, lists, revokes and checks API keys."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from service.errors import InvalidParameter, KeyNotFound, LastAdminKey, Unauthorized
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


class Permission(StrEnum):
    """What a key may do beside its role. `investigate`: see every candidate with its exact score."""

    INVESTIGATE = "investigate"


_RANK = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request."""

    key_id: str
    role: Role
    label: str
    permissions: frozenset[Permission] = frozenset()

    def allows(self, role: Role) -> bool:
        """Returns whether the caller has the rights of `role`."""
        return _RANK[self.role] >= _RANK[role]

    def has(self, permission: Permission) -> bool:
        """Returns whether the caller has a permission. Operators may look at every subject anyway."""
        return permission in self.permissions or self.allows(Role.OPERATOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to be made. Raises InvalidParameter if it would have expired at `expires_at` already."""

    role: Role
    label: str = ""
    permissions: frozenset[Permission] = frozenset()
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.expires_at is not None and self.expires_at <= datetime.now(UTC):
            raise InvalidParameter("`expires_at` is past: a key must expire in the future")


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key. `token` is shown once; the database stores only its digest."""

    stored: StoredKey
    token: str

    @property
    def key_id(self) -> str:
        return self.stored.key_id

    def __repr__(self) -> str:
        return f"CreatedKey({self.stored.key_id!r}, {self.stored.role!r}, token=...)"


def token_digest(token: str) -> str:
    """Computes the SHA-256 of a token, hexadecimal.

    A slow hash would add nothing: the secret is 256 random bits and cannot be guessed.
    """
    return hashlib.sha256(token.encode()).hexdigest()


async def create(
    db: Database, wanted: NewKey, *, actor: str = COMMAND_LINE, admin_first: bool = False
) -> CreatedKey:
    """Creates a key, whose token is only in the result.

    `admin_first`: refuse to make a key of a lower role while no admin key is active, since nobody could
    administer over HTTP afterwards. Raises LastAdminKey, StoreError.
    """
    key_id, now = secrets.token_hex(6), datetime.now(UTC)
    token = f"{PREFIX}_{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    permissions = tuple(sorted(permission.value for permission in wanted.permissions))
    stored = StoredKey(
        key_id,
        wanted.role.value,
        wanted.label,
        token_digest(token),
        now,
        None,
        wanted.expires_at,
        permissions,
    )
    async with db.write() as uow:
        if admin_first and wanted.role is not Role.ADMIN and not await uow.keys.other_admin(key_id, now):
            raise LastAdminKey("make a key with the role admin first: without one nobody can administer")
        await uow.keys.add(stored)
        expires = None if wanted.expires_at is None else wanted.expires_at.isoformat()
        detail = {
            "key_id": key_id,
            "role": stored.role,
            "permissions": list(permissions),
            "expires_at": expires,
        }
        await uow.audit.add(actor, "key.create", None, detail)
        await uow.commit()
    return CreatedKey(stored, token)


async def list_all(db: Database) -> list[StoredKey]:
    """Returns every key, revoked ones too, oldest first."""
    async with db.read() as uow:
        return await uow.keys.all()


async def revoke(
    db: Database, key_id: str, *, actor: str = COMMAND_LINE, keep_an_admin: bool = False
) -> bool:
    """Revokes a key; returns false if there is no such key or it is revoked. A service uses `KeyRing`.

    `keep_an_admin`: raise LastAdminKey instead of revoking the last active admin key.
    """
    async with db.write() as uow:
        now = datetime.now(UTC)
        stored = await uow.keys.get(key_id)
        last = stored is not None and stored.role == Role.ADMIN and stored.active_at(now)
        if keep_an_admin and last and not await uow.keys.other_admin(key_id, now):
            raise LastAdminKey(
                "this is the last admin key: create another one first, or send allow_last=true;"
                " then only `halflight keys create` on the service's machine makes a new one"
            )
        done = await uow.keys.revoke(key_id)
        if done:
            await uow.audit.add(actor, "key.revoke", None, {"key_id": key_id})
            await uow.commit()
    return done


@dataclass(frozen=True, slots=True)
class _CachedKey:
    key: StoredKey | None
    until_s: float


class KeyRing:
    """Checks tokens, and caches each result for `CACHE_S`, so that a busy key costs no SQL."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._cache: dict[str, _CachedKey] = {}
        self._any_ever: tuple[bool, float] = (False, 0.0)
        self._used: dict[str, datetime] = {}
        self._changes = 0

    async def authenticate(self, token: str) -> Principal:
        """Returns the owner of a token.

        Raises Unauthorized if the token is unknown, revoked or expired, StoreError.
        """
        # No key of ours looks like this: a guess costs no SQL and no place in the cache.
        key = await self._find(token_digest(token)) if TOKEN.fullmatch(token) else None
        if key is None or key.revoked_at is not None:
            raise Unauthorized("this key is unknown or revoked")
        now = datetime.now(UTC)
        if not key.active_at(now):
            raise Unauthorized("this key has expired: ask an administrator for a new one")
        self._used[key.key_id] = now
        permissions = frozenset(Permission(name) for name in key.permissions)
        return Principal(key.key_id, Role(key.role), key.label, permissions)

    async def _find(self, digest: str) -> StoredKey | None:
        now, changes = time.monotonic(), self._changes
        cached = self._cache.get(digest)
        if cached is not None and now < cached.until_s:
            return cached.key
        async with self._db.read() as uow:
            stored = await uow.keys.find(digest)
        if len(self._cache) >= MAX_CACHED_TOKENS:
            self._cache.clear()
        # A result read before a revocation must not be cached after it.
        if changes == self._changes:
            self._cache[digest] = _CachedKey(stored, now + CACHE_S)
        return stored

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

    async def page(self, after: str | None, limit: int) -> list[StoredKey]:
        """Returns up to `limit` keys in order of their ids; uses in this process count at once."""
        async with self._db.read() as uow:
            keys = await uow.keys.page(after, limit)
        return [replace(key, last_used_at=self._used.get(key.key_id, key.last_used_at)) for key in keys]

    async def create(self, wanted: NewKey, *, actor: str) -> CreatedKey:
        """Creates a key, valid at once in this process. Raises LastAdminKey, StoreError."""
        made = await create(self._db, wanted, actor=actor, admin_first=True)
        self._clear_cache()
        return made

    async def revoke(self, key_id: str, *, actor: str, allow_last: bool) -> StoredKey:
        """Revokes a key at once in this process, within `CACHE_S` in others, and returns it.

        Raises KeyNotFound, LastAdminKey, StoreError. A key that is revoked already stays as it is.
        """
        await revoke(self._db, key_id, actor=actor, keep_an_admin=not allow_last)
        self._clear_cache()
        async with self._db.read() as uow:
            stored = await uow.keys.get(key_id)
        if stored is None:
            raise KeyNotFound(f"there is no key {key_id}: the list of keys names those that exist")
        return stored

    async def store_last_use(self) -> None:
        """Stores when keys were used since the last call: one write for all of them. Raises StoreError."""
        if not self._used:
            return
        used, self._used = self._used, {}
        try:
            async with self._db.write() as uow:
                await uow.keys.used(used)
                await uow.commit()
        except BaseException:
            self._used = used | self._used
            raise

    def _clear_cache(self) -> None:
        self._changes += 1
        self._cache.clear()
        self._any_ever = (self._any_ever[0], 0.0)
