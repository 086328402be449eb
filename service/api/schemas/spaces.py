"""Wire types of /admin/spaces."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from service.api.schemas.base import Wire
from service.spaces.view import SpaceView


class BundleOut(Wire):
    """The bundle that a space is served from; `digest`: SHA-256 of its manifest."""

    name: str
    version: str
    digest: str
    registered_at: str


class SpaceOut(Wire):
    """`missing`: samples without a template in it. `backfill`: how far the last one is or came.

    `message` says what stands in the way, empty where nothing does.
    """

    space_id: str
    state: Literal["registered", "backfilling", "ready", "active", "retired"]
    bundle: BundleOut | None
    metrics: dict[str, Any]
    templates: int
    missing: int
    backfill: dict[str, Any] | None
    message: str
    created_at: str

    @classmethod
    def of(cls, view: SpaceView) -> SpaceOut:
        bundle = view.bundle
        return cls(
            space_id=view.record.space_id,
            state=view.record.state,
            bundle=None
            if bundle is None
            else BundleOut(
                name=bundle.name,
                version=bundle.version,
                digest=bundle.digest,
                registered_at=bundle.registered_at.isoformat(),
            ),
            metrics=dict(bundle.metrics) if bundle else {},
            templates=view.templates,
            missing=view.missing,
            backfill=None if view.backfill is None else dict(view.backfill),
            message=view.message,
            created_at=view.record.created_at.isoformat(),
        )


class SpacesOut(Wire):
    spaces: list[SpaceOut]
    next_cursor: str | None


class RegisterIn(Wire):
    """`bundle`: a directory's name in the registry directory (`HALFLIGHT_BUNDLES`)."""

    bundle: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class BackfillOut(SpaceOut):
    """`job_id`: the job that tells how far it is, and cancels it."""

    job_id: str


class SpaceErasedOut(Wire):
    space_id: str
    templates: int
