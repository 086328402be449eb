"""Wire types of /admin/keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from faces.strict import ZonedMoment
from service.access.keys import CreatedKey, NewKey, Permission, Role
from service.api.schemas.base import Wire
from service.store.records import StoredKey


class KeyIn(Wire):
    """A key to be made. `expires_at`: with a zone; without it the key does not expire."""

    role: Role
    label: Annotated[str, Field(max_length=128)] = ""
    permissions: Annotated[list[Permission], Field(max_length=len(Permission))] = []
    expires_at: ZonedMoment | None = None

    def wanted(self) -> NewKey:
        """Raises InvalidParameter if the key would have expired already."""
        return NewKey(
            role=self.role,
            label=self.label,
            permissions=frozenset(self.permissions),
            expires_at=self.expires_at,
        )


class KeyOut(Wire):
    """A key without its secret. `last_used_at`: up to a minute behind what other replicas saw."""

    key_id: str
    role: Role
    label: str
    permissions: list[Permission]
    state: Literal["active", "expired", "revoked"]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None

    @classmethod
    def of(cls, key: StoredKey) -> KeyOut:
        state: Literal["active", "expired", "revoked"] = "active"
        if key.revoked_at is not None:
            state = "revoked"
        elif not key.active_at(datetime.now(UTC)):
            state = "expired"
        return cls(
            key_id=key.key_id,
            role=Role(key.role),
            label=key.label,
            permissions=[Permission(name) for name in key.permissions],
            state=state,
            created_at=key.created_at.isoformat(),
            expires_at=_text(key.expires_at),
            revoked_at=_text(key.revoked_at),
            last_used_at=_text(key.last_used_at),
        )


class CreatedKeyOut(KeyOut):
    """`token`: what the caller sends as `Authorization: Bearer TOKEN`. It is not shown again."""

    token: str

    @classmethod
    def made(cls, key: CreatedKey) -> CreatedKeyOut:
        return cls(**KeyOut.of(key.stored).model_dump(), token=key.token)


class KeysOut(Wire):
    keys: list[KeyOut]
    next_cursor: str | None


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
