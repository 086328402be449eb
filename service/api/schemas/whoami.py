"""Wire types of /whoami."""

from __future__ import annotations

from service.access.keys import Permission, Role
from service.api.schemas.base import Wire


class WhoamiOut(Wire):
    """`open_access`: nobody needs a key, because none was ever made and only this machine can ask."""

    key_id: str
    role: Role
    label: str
    permissions: list[Permission]
    open_access: bool
