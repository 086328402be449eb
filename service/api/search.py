"""Route of GET /subjects: search and filters, page by page."""

from __future__ import annotations

import base64
import re
from datetime import UTC
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from faces.strict import Moment
from faces.types import Spectrum
from service.api.deps import Operator, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.subjects import SubjectOut, SubjectsOut
from service.api.subjects import SIMPLE
from service.errors import InvalidParameter
from service.store.records import SubjectSelection
from service.subjects.names import MAX_LETTERS, fold
from service.subjects.search import SubjectQuery, search
from service.subjects.validation import SUBJECT_ID

router = APIRouter(tags=["subjects"], route_class=GuardedRoute)

# Where a subject stands in listings: its token.
PLACE = re.compile(r"~[0-9a-f]{32}")

Prefix = Annotated[str, Query(max_length=128, description="how the id begins")]
Name = Annotated[
    str | None,
    Query(
        max_length=MAX_LETTERS,
        description="part of the display name; case and accents do not count",
    ),
]
Key = Annotated[
    str | None, Query(min_length=1, max_length=200, description="a key of the metadata's top level")
]
Value = Annotated[
    str | None, Query(max_length=1000, description="the value of `metadata_key`, as text or in JSON")
]
Since = Annotated[
    Moment | None, Query(description="ISO 8601; without a zone it is UTC. Enrolled then or later")
]
OfSpectrum = Annotated[Spectrum | None, Query(description="with a sample of this spectrum")]
Masked = Annotated[bool | None, Query(description="with a sample that is masked, or that is not")]


async def _query(
    id_prefix: Prefix = "",
    name: Name = None,
    metadata_key: Key = None,
    metadata_value: Value = None,
    enrolled_since: Since = None,
    spectrum: OfSpectrum = None,
    masked: Masked = None,
) -> SubjectQuery:
    if id_prefix and not SUBJECT_ID.fullmatch(id_prefix):
        raise InvalidParameter("`id_prefix` has letters that no subject_id has: look for a name with `name`")
    if name is not None and not fold(name):
        raise InvalidParameter("`name` is empty: give part of a display name")
    if metadata_value is not None and metadata_key is None:
        raise InvalidParameter("`metadata_value` needs `metadata_key`: say whose value it is")
    if enrolled_since is not None:
        zoned = enrolled_since if enrolled_since.tzinfo else enrolled_since.replace(tzinfo=UTC)
        try:
            enrolled_since = zoned.astimezone(UTC)
        except OverflowError as error:
            raise InvalidParameter("`enrolled_since` is beyond every calendar") from error
    return SubjectQuery(
        selection=SubjectSelection(enrolled_since=enrolled_since, spectrum=spectrum, masked=masked),
        id_prefix=id_prefix,
        name=name,
        metadata_key=metadata_key,
        metadata_value=metadata_value,
    )


@router.get("/subjects", responses=problem_docs(*SIMPLE))
async def list_subjects(
    _operator: Operator,
    state: StateDep,
    query: Annotated[SubjectQuery, Depends(_query)],
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> SubjectsOut:
    """Subjects that fit everything asked for; `next_cursor` leads on, null after the last page.

    A page is in order of its ids. Pages follow in an order that says nothing, since ids lie sealed, and
    that stays. A page may be short, or empty, and still lead on: one request opens 20,000 subjects at most.
    """
    page = await search(state.db, query, _decode_cursor(cursor, query), limit)
    return SubjectsOut(
        subjects=[SubjectOut.of(record) for record in page.subjects],
        next_cursor=None if page.next_after is None else _encode_cursor(page.next_after, query),
    )


def _encode_cursor(place: str, query: SubjectQuery) -> str:
    return base64.urlsafe_b64encode(f"{query.digest()} {place}".encode()).decode().rstrip("=")


def _decode_cursor(cursor: str | None, query: SubjectQuery) -> str | None:
    """The place after which a page begins. Raises InvalidParameter."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        digest, _, after = base64.urlsafe_b64decode(padded.encode("ascii")).decode("ascii").partition(" ")
        if not PLACE.fullmatch(after):
            raise ValueError("no place")
    except ValueError as error:
        raise InvalidParameter("`cursor` is not one this service gave") from error
    if digest != query.digest():
        raise InvalidParameter("`cursor` belongs to another search: repeat its options, or begin without one")
    return after
