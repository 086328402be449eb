"""Wire types of /health/ready."""

from __future__ import annotations

from typing import Literal

from service.api.schemas.base import Wire


class ReadyOut(Wire):
    status: Literal["ready", "degraded", "not_ready"]
    detail: str | None = None
    space_id: str | None = None
    bundle: str | None = None
    provider: str | None = None
    templates: int | None = None
    open_access: bool | None = None
