"""Routes of /watchers: what the programs that watch cameras last said of themselves."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from service.api.deps import Operator, Prober, StateDep
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.watchers import WatcherOut, WatchersOut
from service.errors import Forbidden, InvalidParameter, MalformedRequest, RateLimited, Unauthorized
from service.live.watchers import NAME, WatcherReport

COMMON = (Unauthorized, Forbidden, InvalidParameter, RateLimited)

router = APIRouter(prefix="/watchers", tags=["events"], route_class=GuardedRoute)


@router.get("", responses=problem_docs(*COMMON))
async def show_watchers(_operator: Operator, state: StateDep) -> WatchersOut:
    """Every watcher that was heard of within a day, with its cameras. It names nobody: not audited."""
    return WatchersOut(watchers=[WatcherOut.of(one) for one in state.watchers.all()])


@router.put("/{watcher}", status_code=204, responses=problem_docs(*COMMON, MalformedRequest))
async def report_watcher(
    watcher: Annotated[str, Path(pattern=NAME)], report: WatcherReport, caller: Prober, state: StateDep
) -> Response:
    """A watcher says how it fares. Kept in memory, by key and name, for a day."""
    state.watchers.tell(caller.key_id, watcher, report)
    return Response(status_code=204)
