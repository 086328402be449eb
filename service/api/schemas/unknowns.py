"""Wire types of /unknowns."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from faces.strict import Flag
from service.api.schemas.base import Wire
from service.api.schemas.subjects import DocumentedId
from service.api.schemas.terms import ConsentIn, Expiry
from service.live.clusters import Cluster
from service.live.review import Unknowns
from service.subjects.names import MAX_LETTERS

# So many of its sightings an answer names, the newest.
LISTED = 50


class UnknownOut(Wire):
    """An unknown face. `best_event_id`: its best sighting; `event_ids`: its newest ones, newest first. `GET
    /events/{event_id}/crop` shows each."""

    unknown_id: str
    count: int
    first_seen: datetime
    last_seen: datetime
    cameras: list[str]
    best_event_id: str
    event_ids: list[str]
    ignored: bool

    @classmethod
    def of(cls, cluster: Cluster) -> UnknownOut:
        seen = cluster.sightings
        return cls(
            unknown_id=cluster.cluster_id,
            count=len(seen),
            first_seen=seen[0].at,
            last_seen=seen[-1].at,
            cameras=sorted({one.facts.camera for one in seen if one.facts.camera is not None}),
            best_event_id=cluster.best.event_id,
            event_ids=[one.event_id for one in seen[: -LISTED - 1 : -1]],
            ignored=cluster.ignored,
        )


class UnknownsOut(Wire):
    """Unknown faces, the one that was seen last first. `more`: older sightings are kept, and left out."""

    space_id: str
    unknowns: list[UnknownOut]
    more: bool

    @classmethod
    def of(cls, space_id: str, found: Unknowns, *, ignored: bool) -> UnknownsOut:
        """`ignored`: with those that somebody asked not to see."""
        shown = [UnknownOut.of(one) for one in found.clusters if ignored or not one.ignored]
        shown.sort(key=lambda one: one.last_seen, reverse=True)
        return cls(space_id=space_id, unknowns=shown, more=found.more)


class EnrolUnknownIn(Wire):
    """`consent`, `expires_at`: as in a change of a subject."""

    subject_id: DocumentedId
    display_name: Annotated[str | None, Field(min_length=1, max_length=MAX_LETTERS)] = None
    metadata: dict[str, Any] | None = None
    consent: ConsentIn | None = None
    expires_at: Expiry | None = None


class IgnoreIn(Wire):
    """`ignored`: false to see the face again."""

    ignored: Flag = True


class IgnoredOut(Wire):
    unknown_id: str
    count: int
    ignored: bool


class ForgottenOut(Wire):
    """`erased`: how many sightings of the face were kept, and are gone."""

    unknown_id: str
    erased: int
