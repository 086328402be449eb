"""What the file of doors may say: groups, doors, their rules and outputs. Every key is checked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ConfigDict, Field, field_validator, model_validator

from faces.strict import Strict
from service.doors.output_rules import AnyOutput
from service.doors.windows import DAYS, Day, minute_of_day

NAME = r"[A-Za-z0-9._-]{1,64}"
CAMERA = r"[A-Za-z0-9._:@-]{1,64}"
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Camera = Annotated[str, Field(pattern=f"^{CAMERA}$")]
SubjectName = Annotated[str, Field(min_length=1, max_length=128)]
Scalar = str | int | float | bool
MaskRule = Literal["required", "forbidden", "either"]
SpectrumRule = Literal["nir", "vis", "either"]


class Part(Strict):
    """A part of the file: types are taken as they are written, nothing is converted."""

    model_config = ConfigDict(strict=True)


class Group(Part):
    """Subjects, by a list, or by a metadata field that equals a value (of the same type)."""

    subjects: Annotated[tuple[SubjectName, ...], Field(strict=False, min_length=1)] | None = None
    field: Annotated[str, Field(min_length=1)] | None = None
    value: Scalar | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        by_field = self.field is not None or self.value is not None
        if (self.subjects is None) != by_field or (self.field is None) != (self.value is None):
            raise ValueError("a group is `subjects`, or `field` and `value`")
        return self


class Who(Part):
    """Whom a rule is about: everybody who is recognised, or these subjects and groups."""

    anyone: Literal[True] | None = None
    subjects: Annotated[tuple[SubjectName, ...], Field(strict=False)] = ()
    groups: Annotated[tuple[Name, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if (self.anyone is None) == (not self.subjects and not self.groups):
            raise ValueError("name `subjects` or `groups`, or write `anyone = true`, not both")
        return self


class Window(Part):
    """From one time of the day to another, on these days. A window over midnight belongs to the day on
    which it begins. `from` and `to` are HH:MM; `to` may be 24:00."""

    days: Annotated[tuple[Day, ...], Field(strict=False, min_length=1)] = DAYS
    begins: Annotated[str, Field(alias="from")] = "00:00"
    ends: Annotated[str, Field(alias="to")] = "24:00"

    @field_validator("begins")
    @classmethod
    def _begins(cls, text: str) -> str:
        if minute_of_day(text) >= 24 * 60:
            raise ValueError("a window begins before 24:00")
        return text

    @field_validator("ends")
    @classmethod
    def _ends(cls, text: str) -> str:
        minute_of_day(text)
        return text

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.begins == self.ends:
            raise ValueError("`from` and `to` are the same time; for a whole day write 00:00 and 24:00")
        return self


class When(Part):
    """Windows in the time of one place, by its name in the time zone database. `until`, `since`: dates and
    times with an offset between which the rule holds at all."""

    zone: str
    windows: Annotated[tuple[Window, ...], Field(strict=False, min_length=1)] = (Window(),)
    since: datetime | None = None
    until: datetime | None = None

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"no time zone {zone!r} is known; write a name such as Europe/Berlin") from error
        return zone

    @field_validator("since", "until")
    @classmethod
    def _aware(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.tzinfo is None:
            raise ValueError("write the offset too, such as 2027-01-31T12:00:00Z")
        return None if moment is None else moment.astimezone(UTC)


class Frames(Part):
    """So many agreeing frames of so many. A track says itself how many of its frames agree; frames that are
    identified one by one count together if they are of one camera and within `within_ms`; without it such
    a frame stands alone, as 1 of 1."""

    agree: Annotated[int, Field(ge=1, le=100)] = 1
    of: Annotated[int, Field(ge=1, le=100)] = 1
    within_ms: Annotated[int, Field(ge=1, le=60_000)] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.agree > self.of:
            raise ValueError("more frames should agree than are counted: `agree` is at most `of`")
        return self


class Rule(Part):
    """One rule of a door. `deny` rules win over every `allow` rule.

    A `deny` rule holds where its conditions may hold; an `allow` rule where they certainly do.
    """

    name: Name
    effect: Literal["allow", "deny"]
    who: Who
    cameras: Annotated[tuple[Camera, ...], Field(strict=False, min_length=1)] | None = None
    when: When | None = None
    mask: MaskRule = "either"
    spectrum: SpectrumRule = "either"
    min_quality: Annotated[int, Field(ge=0, le=100)] = 0
    max_fmr: Annotated[float, Field(gt=0, lt=1)] | None = None
    frames: Frames = Frames()
    live_ms: Annotated[int, Field(ge=0, le=60_000)] | None = None

    @model_validator(mode="after")
    def _fits_its_effect(self) -> Self:
        if self.effect == "allow":
            if self.max_fmr is None:
                raise ValueError("an allow rule says by which FMR at most it lets in: add `max_fmr`")
            if self.live_ms and (self.frames.within_ms or 0) < self.live_ms:
                raise ValueError("live_ms needs frames over that time: set frames.within_ms to it or more")
            return self
        asked = {"max_fmr", "min_quality", "frames", "live_ms"} & self.model_fields_set
        if asked:
            raise ValueError(f"a deny rule has no {sorted(asked)[0]}: it would let in whom it does not meet")
        return self


class Door(Part):
    """One door. `dry_run`: it says what it would do, and does nothing; `until-switched`: until an
    administrator switches it over HTTP, or switches it back, over restarts too. `keys`: ids of the API keys
    whose decisions count; absent: of every key. `deadline_ms`: an opening that comes later than so long after
    the decision does not come. `pause_ms`: after an opening the next one waits so long."""

    cameras: Annotated[tuple[Camera, ...], Field(strict=False, min_length=1)]
    dry_run: bool | Literal["until-switched"] = True
    keys: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] | None = None
    deadline_ms: Annotated[int, Field(ge=100, le=10_000)] = 2000
    pause_ms: Annotated[int, Field(ge=0, le=600_000)] = 3000
    output: AnyOutput
    rules: Annotated[tuple[Rule, ...], Field(strict=False, min_length=1)]

    @field_validator("dry_run", mode="before")
    @classmethod
    def _known(cls, given: object) -> object:
        # By identity: 1 is no way to write it.
        if given is True or given is False or given == "until-switched":
            return given
        raise ValueError('write true, false or "until-switched"')

    @property
    def switchable(self) -> bool:
        return self.dry_run == "until-switched"

    @model_validator(mode="after")
    def _rules_fit(self) -> Self:
        names = [rule.name for rule in self.rules]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two rules have the name {twice}")
        for rule in self.rules:
            for camera in rule.cameras or ():
                if camera not in self.cameras:
                    raise ValueError(f"rule {rule.name} names the camera {camera}, which the door has not")
        return self


class DoorsFile(Part):
    """The whole file. `version`: of its format."""

    version: Literal[1]
    groups: dict[Name, Group] = Field(default_factory=dict)
    doors: Annotated[dict[Name, Door], Field(min_length=1)]

    @model_validator(mode="after")
    def _groups_exist(self) -> Self:
        for door_name, door in self.doors.items():
            for rule in door.rules:
                for group in rule.who.groups:
                    if group not in self.groups:
                        where = f"doors.{door_name}.rules.{rule.name}.who.groups"
                        raise ValueError(f"{where} names the group {group}, which is not defined")
        return self
