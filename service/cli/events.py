"""Implements `halflight events` and `halflight correct`: follow decisions, and note a wrong one."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from service.cli.client import Answer, ServiceClient
from service.cli.options import DEFAULT_URL, Json, Key, Url
from service.cli.output import (
    GOOD,
    UNSURE,
    Failure,
    print_json,
    print_status,
    print_styled,
    strip_control,
)
from service.cli.problems import HINTS, ServiceRefusal
from service.cli.recognise import condition_text
from service.cli.stream import Event

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
# What a service may answer for a while that comes back.
COMES_BACK = (429, 500, 502, 503, 504)

EventId = Annotated[str, typer.Argument(metavar="EVENT", help="The id at the end of a line of the events.")]


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with decisions to come.")] = False,
    recent: Annotated[
        int, typer.Option(min=0, max=1000, help="Begin with so many decisions that were made before.")
    ] = 20,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show decisions of identify and verify, and what doors did, one a line; with --follow until Ctrl-C.

    A connection that breaks is made again, and goes on after the last decision. Needs an operator key, or a
    probe key that may investigate. Several replicas: each shows its own decisions.
    """
    with ServiceClient(url, key) as client:
        reader = _Reader(client, recent=recent, follow=follow, as_json=as_json)
        while not reader.read():
            time.sleep(reader.wait_s())


class _Reader:
    """Reads the stream as often as it breaks, each time from the last event on."""

    def __init__(self, client: ServiceClient, *, recent: int, follow: bool, as_json: bool) -> None:
        self._client, self._recent = client, recent
        self._follow, self._as_json = follow, as_json
        self._last: str | None = None
        self._failed = 0

    def read(self) -> bool:
        """Reads until the stream ends; returns whether that was all. Raises Failure if it cannot go on."""
        try:
            for event in self._client.decisions(self._last, recent=self._recent, follow=self._follow):
                self._failed = 0
                self._last = event.id or self._last
                if event.kind == "end":
                    return self._ended(event.data["reason"])
                self._show(event)
            said = "the service closed the connection"
        except Failure as failure:
            lasts = isinstance(failure, ServiceRefusal) and failure.status not in COMES_BACK
            if self._last is None or not self._follow or lasts:
                raise
            said = failure.title
        self._say_again(said)
        return False

    def wait_s(self) -> float:
        """Longer after each attempt that failed."""
        self._failed += 1
        return min(FIRST_WAIT_S * 2.0 ** (self._failed - 1), LONGEST_WAIT_S)

    def _ended(self, reason: str) -> bool:
        if reason == "unauthorized":
            raise Failure("the key was revoked or has expired", hint=HINTS["unauthorized"])
        if reason == "all_sent":
            return True
        if not self._follow:
            raise Failure(f"the service ended the stream ({reason})", hint="ask again in a moment")
        self._say_again("the service shuts down" if reason == "draining" else "its database does not answer")
        return False

    def _say_again(self, why: str) -> None:
        if not self._failed:
            print_status(f"{why}; trying again until Ctrl-C", UNSURE)

    def _show(self, event: Event) -> None:
        if event.kind == "missed":
            count = event.data["count"]
            print_status(
                "the service started anew: what it decided before is in the audit log"
                if count is None
                else f"{count} decisions are missing: they came faster than they were read",
                UNSURE,
            )
        elif event.kind == "decision":
            if self._as_json:
                print_json(event.data)
            else:
                print_styled(decision_line(event.data))
        elif event.kind == "door":
            if self._as_json:
                print_json(event.data)
            else:
                print_styled(door_line(event.data))


def decision_line(one: Answer) -> Text:
    """A decision as one line, which ends with the event's id."""
    found, threshold = one["score"], one["threshold"]
    score = "-" if found is None else f"{found:.3f}"
    if found is not None and threshold is not None:
        # Rounded to as many digits, the two may look the same.
        score += f" {'≥' if found >= threshold else '<'} {threshold:.3f}"
    line = Text()
    at = datetime.fromisoformat(one["at"]).astimezone()
    line.append(f"{at:%Y-%m-%d %H:%M:%S}  {one['action']:<8}  ")
    line.append(f"{one['decision']:<12}", GOOD if one["decision"] == "match" else UNSURE)
    cells = (
        f"{_whom(one['subject']):<24}",
        f"{score:<15}",
        f"{condition_text(one['condition']):<12}",
        f"quality {one['quality']['score']:>3}",
        f"{strip_control(one['camera'] or '-'):<12}",
        one["event_id"],
    )
    return line.append("  " + "  ".join(cells))


def door_line(one: Answer) -> Text:
    """What a door did, or would have done, as one line; liveness is said in each."""
    at = datetime.fromisoformat(one["at"]).astimezone()
    line = Text(f"{at:%Y-%m-%d %H:%M:%S}  {'door':<8}  ")
    line.append(f"{one['outcome']:<12}", GOOD if one["outcome"] in ("opened", "would_open") else UNSURE)
    run = "dry run" if one["dry_run"] else "live door"
    cells = (
        f"{_whom(one['subject']):<24}",
        f"{one['door']}, {one['rule'] or 'no rule'} ({one['reason']})",
        run,
        f"liveness {one['liveness']}",
        f"{strip_control(one['camera']):<12}",
        one["event_id"],
    )
    return line.append("  " + "  ".join(cells))


def _whom(subject: dict[str, Any] | None) -> str:
    if subject is None:
        return "-"
    name = subject["display_name"]
    return strip_control(subject["subject_id"] + ("" if name is None else f" ({name})"))


def correct(
    event_id: EventId,
    subject: Annotated[
        str | None, typer.Argument(metavar="[SUBJECT]", help="Whom the face shows, if that is known.")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Note that a decision was wrong, while its crop is kept: feedback in the audit log.

    Without SUBJECT the face joins the unknown ones. Needs an operator key.
    """
    with ServiceClient(url, key) as client:
        answer = client.correct(event_id, subject)
    if as_json:
        print_json(answer)
        return
    was = "nobody" if answer["was"] is None else answer["was"]
    now = "joins the unknown ones" if answer["now"] is None else f"is that of {answer['now']}"
    print_status(f"noted: the decision named {was}; the face {now}", GOOD)
