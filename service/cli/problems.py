"""Turns a problem response (RFC 9457) of the service into a failure with a hint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.cli.output import Failure

# Statuses that do not depend on the photo: every other request would get them as well.
AFFECTS_EVERY_REQUEST = (401, 403, 404, 405, 429, 503)
_LATER = "nothing is wrong with the request: send it again in a moment"
HINTS: Mapping[str, str] = {
    "malformed_request": "check the options; `--metadata` must be a JSON object",
    "unauthorized": (
        "give a key with --key or HALFLIGHT_KEY; on the service's machine"
        " `halflight keys create --role operator --data DIR` makes one"
    ),
    "forbidden": (
        "use a key with a higher role (probe < operator < admin):"
        " `halflight keys create --role ROLE --data DIR` on the service's machine makes one"
    ),
    "not_found": "check --url: the address may belong to another service",
    "subject_not_found": "`halflight subjects list` shows who is enrolled",
    "sample_not_found": "`halflight subjects show ID` shows the samples of a subject",
    "thresholds_not_found": "`halflight thresholds list` shows every version",
    "invalid_thresholds": "measure again with `halflight evaluate`, with more people where they are too few",
    "unknown_not_found": "`halflight unknowns list` shows who is kept",
    "event_not_found": "its crop has expired or was erased: `halflight events` shows what is there",
    "probes_not_kept": "set HALFLIGHT_KEEP_PROBES_HOURS for the service, if people may be kept so long",
    "key_not_found": "`halflight keys list` shows every key",
    "last_admin_key": "create another admin key first",
    "duplicate_face": (
        "enrol the photo under that subject, or, if they are two people, repeat with --duplicates ignore"
    ),
    "subject_mismatch": "check the subject id, or, if it is the same person, repeat with --allow-mismatch",
    "photos_disagree": "enrol the photos of one person at a time, or repeat with --allow-mismatch",
    "on_hold": "`halflight subjects release ID`, with an admin key, lifts the hold",
    "hold_not_found": "`halflight subjects show ID` shows whether it is on hold",
    "consent_missing": "give --consent-date, and --consent-reference if it is written down",
    "subject_exists": "`halflight subjects merge` merges the two, if they are one person",
    "idempotency_conflict": "the same key was used for another request: run the command again",
    "image_too_large": "send a smaller picture: the face needs no more than about 200 px between the eyes",
    "body_too_large": "send fewer or smaller pictures at once",
    "unsure_orientation": "turn the photo upright, or take one in which the face is clearer",
    "unsupported_media_type": "convert it to JPEG, PNG, BMP, WebP, TIFF, HEIC or AVIF",
    "undecodable_image": "the file is damaged or incomplete: copy or export it again",
    "no_face": "use a picture in which the eyes are visible, roughly upright",
    "multiple_faces": "cut the picture so that the subject's face is the largest by far",
    "low_quality": "use a sharper, larger, evenly lit picture",
    "invalid_parameter": "correct the option that is named; `--help` lists the values",
    "unsupported_fmr": "choose one of the calibrated points that are named, or give --threshold",
    "rate_limited": _LATER,
    "overloaded": _LATER,
    "not_ready": "the service is starting or waits for its database: send it again in a moment",
    "audit_unavailable": "the service does nothing that it cannot audit: its operator must look at its disk",
    "storage_busy": _LATER,
    "draining": "the service is shutting down: wait until it is back, then send it again",
    "internal_error": "the service's log says what happened",
}


def _detail(problem: Mapping[str, Any]) -> str:
    """What the service says; where that names an option of HTTP, the hint names the command's instead."""
    if problem["code"] == "duplicate_face" and "subject_id" in problem:
        return f"the face matches subject {problem['subject_id']}"
    return str(problem.get("detail", ""))


class ServiceRefusal(Failure):
    """The service refused the request; `problem` is the body of its response."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        self.problem = dict(problem)
        self.status, self.code = int(problem["status"]), str(problem["code"])
        detail = _detail(problem)
        rejected = problem.get("rejected") or ()
        lines = [detail] + [f"image {r['index']}: {r['code']}: {r['detail']}" for r in rejected]
        super().__init__(
            f"{problem.get('title', 'The service refused')} ({self.code})",
            detail="\n".join(lines if len(rejected) > 1 else lines[:1]),
            hint=HINTS.get(self.code, ""),
        )


def is_problem(body: object) -> bool:
    """Returns whether a body has the fields of a problem of this service."""
    return (
        isinstance(body, dict)
        and isinstance(body.get("status"), int)
        and isinstance(body.get("code"), str)
        and isinstance(body.get("detail"), str)
    )
