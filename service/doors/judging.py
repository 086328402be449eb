"""Which rule decides about one person at one door, and why: pure, so that a command can explain it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from service.doors.rules import Door, Group, MaskRule, Rule, Window
from service.doors.windows import inside
from service.inference.liveness_reading import Liveness

Check = Literal["who", "where", "when", "mask", "spectrum", "quality", "threshold", "liveness", "frames"]
Reason = Literal[
    "allowed",
    "denied_by_rule",
    "nobody_recognised",
    "subject_gone",
    "key_not_admitted",
    "clock_not_believed",
    "liveness_denied",
    "no_rule_names_them",
    "camera",
    "time",
    "mask",
    "spectrum",
    "quality",
    "threshold",
    "frames",
    "liveness",
]
# What a refusal is called, by the first condition of the nearest rule that is not met.
REASON_OF: Mapping[Check, Reason] = {
    "who": "no_rule_names_them",
    "where": "camera",
    "when": "time",
    "mask": "mask",
    "spectrum": "spectrum",
    "quality": "quality",
    "threshold": "threshold",
    "liveness": "liveness",
    "frames": "frames",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """Who stands before a camera, by one decision.

    `subject_id`: None if nobody is recognised; `known`: whether the subject is still enrolled. `masks`:
    every value that the mask may have in truth. `fmr`: that the decision was made by; None for a threshold
    of the caller's own choice, which opens nothing. `votes`: agreeing frames and frames of a track; None
    for a decision about one frame.
    """

    subject_id: str | None
    camera: str
    key_id: str
    masks: tuple[bool, ...]
    spectrum: Literal["nir", "vis"]
    quality: int
    fmr: float | None
    known: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)
    liveness: Liveness = "none"
    votes: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreeing frames of those that count for a rule. `live_ms`: over how long these were live without a
    frame between that was not; None if the last one was not."""

    agree: int
    of: int
    live_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Met:
    """One condition of a rule. `met`: for a deny rule, whether it may hold."""

    check: Check
    met: bool
    said: str


@dataclass(frozen=True, slots=True)
class Explained:
    """One rule and each of its conditions."""

    rule: Rule
    conditions: tuple[Met, ...]

    @property
    def holds(self) -> bool:
        return all(one.met for one in self.conditions)

    @property
    def missing(self) -> tuple[Met, ...]:
        return tuple(one for one in self.conditions if not one.met)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule`: the name of the rule that decides; None where none does: denied by default."""

    allowed: bool
    rule: str | None
    reason: Reason
    explained: tuple[Explained, ...] = ()


def judge(
    door: Door,
    groups: Mapping[str, Group],
    seen: Presented,
    now: datetime | None,
    agreement: Callable[[Rule], Agreement],
) -> Verdict:
    """Denied unless an allow rule holds, and no deny rule does. `now`: None while the clock is doubted."""
    if door.keys is not None and seen.key_id not in door.keys:
        return Verdict(False, None, "key_not_admitted")
    if seen.subject_id is None:
        return Verdict(False, None, "nobody_recognised")
    if seen.liveness == "denied":
        return Verdict(False, None, "liveness_denied")
    if not seen.known:
        return Verdict(False, None, "subject_gone")
    if now is None:
        return Verdict(False, None, "clock_not_believed")
    explained = tuple(
        Explained(rule, _conditions(rule, groups, seen, now, agreement(rule))) for rule in door.rules
    )
    denying = next((one for one in explained if one.rule.effect == "deny" and one.holds), None)
    if denying is not None:
        return Verdict(False, denying.rule.name, "denied_by_rule", explained)
    allowing = [one for one in explained if one.rule.effect == "allow"]
    if (found := next((one for one in allowing if one.holds), None)) is not None:
        return Verdict(True, found.rule.name, "allowed", explained)
    return Verdict(False, None, _nearest(allowing), explained)


def frame_counts(rule: Rule, seen: Presented) -> bool:
    """Whether a frame of this person meets what the rule asks of every single frame."""
    if seen.subject_id is None or seen.liveness == "denied":
        return False
    return all(one.met for one in _of_a_frame(rule, seen))


def _nearest(allowing: Sequence[Explained]) -> Reason:
    """Why nobody is let in: what the rule lacks that names the person and lacks least."""
    naming = [one for one in allowing if all(lack.check != "who" for lack in one.missing)]
    if not naming:
        return "no_rule_names_them"
    return REASON_OF[min(naming, key=lambda one: len(one.missing)).missing[0].check]


def _conditions(
    rule: Rule, groups: Mapping[str, Group], seen: Presented, now: datetime, counted: Agreement
) -> tuple[Met, ...]:
    place = rule.cameras is None or seen.camera in rule.cameras
    found = [
        Met("who", _is_named(rule, groups, seen), "whom the rule is about"),
        Met("where", place, f"the camera {seen.camera}"),
        Met("when", _is_time(rule, now), f"the time {now.isoformat(timespec='seconds')}"),
        *_of_a_frame(rule, seen),
    ]
    if rule.effect == "deny":
        return tuple(found)
    frames = rule.frames
    agree, of = seen.votes or (counted.agree, counted.of)
    # A track may have more frames than are asked for: then the same share of them agrees.
    enough = agree >= frames.agree and agree * frames.of >= frames.agree * of
    said = f"{agree} of {of} frames agree, {frames.agree} of {frames.of} are asked for"
    found.append(Met("frames", enough, said))
    if rule.live_ms:
        lasts = counted.live_ms is not None and counted.live_ms >= rule.live_ms
        shown = "never" if counted.live_ms is None else f"for {counted.live_ms:.0f} ms"
        found.append(Met("liveness", lasts, f"live {shown}, {rule.live_ms} ms are asked for"))
    return tuple(found)


def _of_a_frame(rule: Rule, seen: Presented) -> list[Met]:
    spectrum = rule.spectrum in ("either", seen.spectrum)
    found = [
        Met("mask", _mask_fits(rule.mask, rule.effect, seen.masks), f"the mask is {_mask_said(seen.masks)}"),
        Met("spectrum", spectrum, f"the frame is {seen.spectrum}"),
    ]
    if rule.effect == "deny":
        return found
    good = seen.quality >= rule.min_quality
    found.append(Met("quality", good, f"quality {seen.quality}, {rule.min_quality} is asked for"))
    strict = seen.fmr is not None and rule.max_fmr is not None and seen.fmr <= rule.max_fmr
    by = "a threshold of the caller's own" if seen.fmr is None else f"FMR {seen.fmr:g}"
    found.append(Met("threshold", strict, f"decided by {by}, {rule.max_fmr:g} at most is asked for"))
    if rule.live_ms is not None:
        found.append(Met("liveness", seen.liveness == "live", f"liveness is {seen.liveness}"))
    return found


def _mask_said(masks: tuple[bool, ...]) -> str:
    return "uncertain" if len(set(masks)) > 1 else "worn" if masks[0] else "not worn"


def _mask_fits(asked: MaskRule, effect: Literal["allow", "deny"], masks: tuple[bool, ...]) -> bool:
    if asked == "either":
        return True
    fitting = [worn == (asked == "required") for worn in masks]
    return any(fitting) if effect == "deny" else all(fitting)


def _is_named(rule: Rule, groups: Mapping[str, Group], seen: Presented) -> bool:
    if rule.who.anyone or seen.subject_id in rule.who.subjects:
        return True
    return any(_belongs(groups[name], seen) for name in rule.who.groups)


def _belongs(group: Group, seen: Presented) -> bool:
    if group.subjects is not None:
        return seen.subject_id in group.subjects
    held = seen.metadata.get(group.field or "")
    # True is no 1, and "1" is no 1.
    return type(held) is type(group.value) and held == group.value


def _is_time(rule: Rule, now: datetime) -> bool:
    when = rule.when
    if when is None:
        return True
    if (when.since is not None and now < when.since) or (when.until is not None and now >= when.until):
        return False

    def holds(window: Window) -> bool:
        return inside(now, when.zone, window.days, window.begins, window.ends)

    return any(holds(window) for window in when.windows)
