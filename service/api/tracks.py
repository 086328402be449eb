"""Route of /tracks: whose face do these frames of one person show?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse

from faces.strict import ZonedMoment
from faces.types import CONDITIONS
from service.api.deps import ADMITTED, Prober, SpaceDep, StateDep
from service.api.guard import ImageRoute
from service.api.image_docs import ANY_IMAGE, BASE64, BINARY, Schema, image_body
from service.api.image_options import track_options
from service.api.noting_tracks import note_track, stored_answer
from service.api.problems import problem_docs
from service.api.recognition import disclosure_of
from service.api.schemas.tracks import TrackOut
from service.api.uploads import form_of
from service.errors import Forbidden, IdempotencyConflict, InvalidParameter, UnsupportedFmrPoint
from service.matching.disclosure import Disclosure
from service.matching.pipeline import StageTimes
from service.matching.rules import Options
from service.matching.tracks import TrackRequest, identify_frames
from service.matching.voting import vote

MAX_IDEMPOTENCY_KEY = 200
MAX_QUIET_S = 3600
IMAGES: Schema = {"type": "array", "minItems": 1, "maxItems": 16}
TRACK_BODY = image_body(
    ["images"], form={"images": IMAGES | {"items": BINARY}}, json={"images": IMAGES | {"items": BASE64}}
)

router = APIRouter(tags=["matching"], dependencies=[ADMITTED], route_class=ImageRoute)


@dataclass(frozen=True, slots=True)
class Voting:
    """How a track is decided; see `TrackRequest`. `agree`: None for the setting's."""

    track: str
    agree: int | None
    seen_at: datetime | None
    quiet_s: float
    final: bool


async def voting(
    track: Annotated[
        str, Query(pattern="^[A-Za-z0-9._:-]{1,64}$", description="the caller's own name of the track")
    ],
    agree: Annotated[
        int | None,
        Query(
            ge=1,
            le=16,
            description="how many frames have to agree; by default, and for role `probe` at least,"
            " `HALFLIGHT_TRACK_AGREE`",
        ),
    ] = None,
    seen_at: Annotated[
        ZonedMoment | None, Query(description="when the camera saw the person; by default now")
    ] = None,
    quiet_s: Annotated[
        float,
        Query(
            ge=0,
            le=MAX_QUIET_S,
            description="the same subject before the same camera within so many seconds of `seen_at` is a"
            " repetition: answered and audited, but no event",
        ),
    ] = 0,
    final: Annotated[
        bool, Query(description="false: more frames will come, so make an event only if somebody matches")
    ] = True,
) -> Voting:
    return Voting(track, agree, seen_at, quiet_s, final)


def needed(asked: Voting, least: int, disclosure: Disclosure) -> int:
    """How many frames have to agree. Raises Forbidden for fewer than a door's key may ask for."""
    if asked.agree is None:
        return least
    if asked.agree < least and disclosure.loosest_fmr is not None:
        raise Forbidden(f"this key may not ask for less than {least} frames that agree")
    return asked.agree


@router.post(
    "/tracks",
    openapi_extra=TRACK_BODY,
    response_model=TrackOut,
    responses=problem_docs(*ANY_IMAGE, UnsupportedFmrPoint, IdempotencyConflict),
)
async def decide_track(
    request: Request,
    caller: Prober,
    state: StateDep,
    space: SpaceDep,
    asked: Annotated[Voting, Depends(voting)],
    options: Annotated[Options, Depends(track_options)],
    idempotency_key: Annotated[
        str | None, Header(json_schema_extra={"minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY})
    ] = None,
) -> JSONResponse:
    """Who is this, by the votes of several frames of one person, in time order?

    Each frame's largest face is identified. A subject matches that enough usable frames have as best
    candidate at or above the threshold of their condition, and no other as often. One event, one audit entry.
    """
    times, disclosure = StageTimes(), disclosure_of(caller)
    if idempotency_key is not None and not 1 <= len(idempotency_key) <= MAX_IDEMPOTENCY_KEY:
        raise InvalidParameter(f"Idempotency-Key has 1 to {MAX_IDEMPOTENCY_KEY} characters")
    disclosure.check(space, options, CONDITIONS)
    images = form_of(request).files.get("images", ())
    if not 1 <= len(images) <= state.settings.max_images:
        raise InvalidParameter(f"send 1 to {state.settings.max_images} files as `images`")
    track = TrackRequest(
        actor=caller.key_id,
        track=asked.track,
        images=images,
        options=disclosure.limited(options),
        agree=needed(asked, state.settings.track_agree, disclosure),
        seen_at=asked.seen_at or datetime.now(UTC),
        quiet_s=asked.quiet_s,
        final=asked.final,
        idempotency_key=idempotency_key,
    )
    if (stored := await stored_answer(state, track)) is not None:
        return JSONResponse(stored)
    frames = await identify_frames(state.comparer, space, track, times)
    for frame in frames:
        if frame.found is not None:
            for condition in frame.found.description.possible_conditions:
                disclosure.check(space, options, [condition])
    verdict = vote(frames, track.agree)
    timing_ms = times.as_ms()
    state.metrics.observe_stages(timing_ms)

    def encode(event_id: str | None, repeat: bool) -> dict[str, object]:
        answer = TrackOut.of(
            space.space_id, track, verdict, disclosure, timing_ms, event_id=event_id, repeat=repeat
        )
        return answer.model_dump(mode="json")

    return JSONResponse(await note_track(state, space, track, verdict, encode))
