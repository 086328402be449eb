"""Wire types of doors: their events, their state, and a test of one that is a dry run."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from faces.strict import INTEGER, Flag, Number, ZonedMoment
from service.api.schemas.base import Wire
from service.api.schemas.events import SchemaVersion, SeenSubjectOut
from service.doors.judging import Explained, Verdict
from service.doors.keeper import DoorState, Told
from service.inference.liveness_reading import Liveness
from service.live.door_events import DoorEvent, Outcome
from service.spaces.threshold_table import CAMERA


class DoorEventOut(Wire):
    """What a door did, or would have done. `opening` comes before the output is asked, `opened` or `failed`
    after it; a `dry_run` says `would_open` instead. `reason`: see docs/how-to/door.md. `decision_id`: the
    event of the decision that it judged. `liveness`: none where nothing looked for a living face, which a
    printed photo then passes as well."""

    schema_version: SchemaVersion = 1
    kind: Literal["door"] = "door"
    event_id: str
    at: datetime
    door: str
    outcome: Outcome
    reason: str
    rule: str | None
    subject: SeenSubjectOut | None
    camera: str
    decision_id: str
    dry_run: bool
    liveness: Liveness

    @classmethod
    def of(cls, one: DoorEvent) -> DoorEventOut:
        subject = one.subject
        return cls(
            event_id=one.event_id,
            at=one.at,
            door=one.door,
            outcome=one.outcome,
            reason=one.reason,
            rule=one.rule,
            subject=None
            if subject is None
            else SeenSubjectOut(subject_id=subject.subject_id, display_name=subject.display_name),
            camera=one.camera,
            decision_id=one.decision_id,
            dry_run=one.dry_run,
            liveness=one.liveness,
        )


class ConditionMetOut(Wire):
    check: str
    met: bool
    said: str


class RuleExplainedOut(Wire):
    """`holds`: whether every condition is met; for a deny rule, whether all of them may be."""

    name: str
    effect: Literal["allow", "deny"]
    holds: bool
    conditions: list[ConditionMetOut]

    @classmethod
    def of(cls, one: Explained) -> RuleExplainedOut:
        conditions = [
            ConditionMetOut(check=each.check, met=each.met, said=each.said) for each in one.conditions
        ]
        return cls(name=one.rule.name, effect=one.rule.effect, holds=one.holds, conditions=conditions)


class DoorOutcomeOut(DoorEventOut):
    """`rules`: each rule of the door and its conditions, as they were found; none where no rule was asked."""

    rules: list[RuleExplainedOut]

    @classmethod
    def told(cls, one: Told) -> DoorOutcomeOut:
        rules = [RuleExplainedOut.of(each) for each in one.explained]
        return cls(**DoorEventOut.of(one.event).model_dump(), rules=rules)


class DoorRuleOut(Wire):
    name: str
    effect: Literal["allow", "deny"]


class DoorOut(Wire):
    """`switchable`: an administrator may switch it between a dry run and live, with `PUT
    /admin/doors/{door}/mode`; else the file decides. `output`: its kind, and `state` a word about it,
    `dry_run` where it is not connected. `liveness`: what the rules ask for; `none` means that a printed photo
    or a mask may pass. `last`: its latest outcomes since this process started, newest first."""

    name: str
    dry_run: bool
    switchable: bool
    cameras: list[str]
    output: Literal["http", "wiegand", "osdp"]
    state: str
    liveness: Literal["none", "asked", "asked by some rules"]
    rules: list[DoorRuleOut]
    last: list[DoorOutcomeOut]

    @classmethod
    def of(cls, one: DoorState) -> DoorOut:
        door = one.door
        asking = [rule.live_ms is not None for rule in door.rules if rule.effect == "allow"]
        liveness: Literal["none", "asked", "asked by some rules"] = "none"
        if any(asking):
            liveness = "asked" if all(asking) else "asked by some rules"
        return cls(
            name=one.name,
            dry_run=not one.live,
            switchable=door.switchable,
            cameras=list(door.cameras),
            output=door.output.kind,
            state=one.output.state() if one.live else "dry_run",
            liveness=liveness,
            rules=[DoorRuleOut(name=rule.name, effect=rule.effect) for rule in door.rules],
            last=[DoorOutcomeOut.told(each) for each in one.last],
        )


class DoorsOut(Wire):
    """`on`: whether a file of doors is set (`HALFLIGHT_DOORS_FILE`)."""

    on: bool
    doors: list[DoorOut]


class DoorModeIn(Wire):
    dry_run: Flag


class DoorTestIn(Wire):
    """A person who would stand before a camera. `at`: null for now, by the clock of the database."""

    subject_id: str
    camera: Annotated[str, Field(pattern=f"^{CAMERA}$")]
    at: ZonedMoment | None = None
    mask: Literal["worn", "not worn", "uncertain"] = "not worn"
    spectrum: Literal["nir", "vis"] = "nir"
    quality: Annotated[int, Field(ge=0, le=100), INTEGER] = 100
    fmr: Annotated[Number, Field(gt=0, lt=1)] = 1e-6
    agree: Annotated[int, Field(ge=1, le=100), INTEGER] = 1
    of: Annotated[int, Field(ge=1, le=100), INTEGER] = 1


class DoorTestOut(Wire):
    """`would_open`: what the rules say; nothing was opened."""

    door: str
    would_open: bool
    rule: str | None
    reason: str
    rules: list[RuleExplainedOut]

    @classmethod
    def of(cls, door: str, verdict: Verdict) -> DoorTestOut:
        return cls(
            door=door,
            would_open=verdict.allowed,
            rule=verdict.rule,
            reason=verdict.reason,
            rules=[RuleExplainedOut.of(one) for one in verdict.explained],
        )
