"""Route of /whoami: what the caller's own key may do."""

from __future__ import annotations

from fastapi import APIRouter

from service.api.deps import LOCAL, Prober
from service.api.guard import GuardedRoute
from service.api.problems import problem_docs
from service.api.schemas.whoami import WhoamiOut
from service.errors import Forbidden, InvalidParameter, RateLimited, Unauthorized

router = APIRouter(tags=["operations"], route_class=GuardedRoute)


@router.get("/whoami", responses=problem_docs(Unauthorized, Forbidden, InvalidParameter, RateLimited))
async def whoami(caller: Prober) -> WhoamiOut:
    """Role and permissions of the key of this request; a console shows what it allows and hides the rest."""
    return WhoamiOut(
        key_id=caller.key_id,
        role=caller.role,
        label=caller.label,
        permissions=sorted(caller.permissions),
        open_access=caller is LOCAL,
    )
