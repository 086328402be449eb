"""Whatever a file of doors says: nobody passes below a rule's conditions, and a deny rule wins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from service.doors.judging import Agreement, Presented, judge
from service.doors.output_rules import HttpCall
from service.doors.rules import Door, Frames, Group, Rule, When, Who, Window
from service.doors.windows import DAYS, inside

PEOPLE, CAMERAS = ("ada", "bob", "mallory"), ("entry", "yard")
GROUPS = {
    "staff": Group(field="team", value="research"),
    "night": Group(subjects=("bob", "mallory")),
}
OUTPUT = HttpCall(kind="http", url="http://127.0.0.1:9/")
TIMES = ("00:00", "06:30", "12:00", "22:00", "24:00")

people = st.sampled_from(PEOPLE)
who = st.one_of(
    st.just(Who(anyone=True)),
    st.builds(lambda names: Who(subjects=tuple(names)), st.sets(people, min_size=1)),
    st.builds(lambda names: Who(groups=tuple(names)), st.sets(st.sampled_from(sorted(GROUPS)), min_size=1)),
)
windows = st.builds(
    lambda days, ends: Window.model_validate({"days": tuple(sorted(days)), "from": ends[0], "to": ends[1]}),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.sampled_from([(a, b) for a in TIMES[:-1] for b in TIMES if a != b]),
)
when = st.none() | st.builds(
    lambda zone, found: When(zone=zone, windows=tuple(found)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]),
    st.lists(windows, min_size=1, max_size=2),
)
frames = st.builds(lambda a, b: Frames(agree=min(a, b), of=max(a, b)), st.integers(1, 4), st.integers(1, 4))
common: dict[str, Any] = {
    "who": who,
    "cameras": st.none() | st.sampled_from([("entry",), ("yard",), CAMERAS]),
    "when": when,
    "mask": st.sampled_from(["required", "forbidden", "either"]),
    "spectrum": st.sampled_from(["nir", "vis", "either"]),
}


def rules(effect: Literal["allow", "deny"]) -> st.SearchStrategy[Rule]:
    if effect == "deny":
        return st.fixed_dictionaries(common).map(lambda one: Rule(name="x", effect="deny", **one))
    more = {
        "min_quality": st.integers(0, 100),
        "max_fmr": st.sampled_from([1e-5, 1e-3, 1e-1]),
        "frames": frames,
        "live_ms": st.sampled_from([None, 0]),
    }
    return st.fixed_dictionaries(common | more).map(lambda one: Rule(name="x", effect="allow", **one))


@st.composite
def doors(draw: st.DrawFn) -> Door:
    found = draw(st.lists(rules("allow") | rules("deny"), min_size=1, max_size=5))
    named = tuple(one.model_copy(update={"name": f"r{number}"}) for number, one in enumerate(found))
    keys = draw(st.none() | st.just(("k1",)))
    return Door(cameras=CAMERAS, keys=keys, output=OUTPUT, rules=named)


persons = st.builds(
    Presented,
    subject_id=st.none() | people,
    camera=st.sampled_from(CAMERAS),
    key_id=st.sampled_from(["k1", "k2"]),
    masks=st.sampled_from([(True,), (False,), (False, True)]),
    spectrum=st.sampled_from(["nir", "vis"]),
    quality=st.integers(0, 100),
    fmr=st.sampled_from([None, 1e-6, 1e-4, 1e-2]),
    known=st.booleans(),
    metadata=st.sampled_from([{}, {"team": "research"}, {"team": "sales"}, {"team": 1}]),
    liveness=st.sampled_from(["none", "live", "denied"]),
    votes=st.none() | st.sampled_from([(1, 1), (2, 3), (3, 3), (4, 9)]),
)
moments = st.none() | st.integers(0, 3 * 366 * 24 * 60).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


def about(rule: Rule, seen: Presented, now: datetime) -> bool:
    """Whom, where, when and in what light, as the file's text says it, in other words than the service's."""
    names = set(rule.who.subjects)
    names |= {"bob", "mallory"} if "night" in rule.who.groups else set()
    named = bool(rule.who.anyone) or seen.subject_id in names
    named |= "staff" in rule.who.groups and seen.metadata.get("team") == "research"
    timely = rule.when is None or any(
        inside(now, rule.when.zone, one.days, one.begins, one.ends) for one in rule.when.windows
    )
    return (
        named
        and timely
        and seen.camera in (rule.cameras or CAMERAS)
        and rule.spectrum in ("either", seen.spectrum)
    )


@given(doors(), persons, moments)
def test_who_passes_meets_every_condition_of_an_allow_rule_and_of_no_deny_rule(
    door: Door, seen: Presented, now: datetime | None
) -> None:
    verdict = judge(door, GROUPS, seen, now, lambda _: Agreement(1, 1))
    if not verdict.allowed:
        assert verdict.reason != "allowed"
        return
    assert now is not None
    assert seen.subject_id is not None
    assert seen.known
    assert seen.liveness != "denied"
    assert door.keys is None or seen.key_id in door.keys
    (by,) = [rule for rule in door.rules if rule.name == verdict.rule]
    assert by.effect == "allow"
    assert about(by, seen, now)
    assert by.mask == "either" or seen.masks == (by.mask == "required",)
    assert seen.quality >= by.min_quality
    assert seen.fmr is not None
    assert by.max_fmr is not None
    assert seen.fmr <= by.max_fmr
    assert by.live_ms is None or seen.liveness == "live"
    agree, of = seen.votes or (1, 1)
    assert agree >= by.frames.agree
    assert agree / of >= by.frames.agree / by.frames.of - 1e-12
    for rule in door.rules:
        if rule.effect == "deny":
            may_be_masked = rule.mask == "either" or (rule.mask == "required") in seen.masks
            assert not (about(rule, seen, now) and may_be_masked)


@given(doors(), persons, moments, rules("deny"))
def test_one_more_deny_rule_never_lets_anybody_in(
    door: Door, seen: Presented, now: datetime | None, more: Rule
) -> None:
    def allowed(one: Door) -> bool:
        return judge(one, GROUPS, seen, now, lambda _: Agreement(1, 1)).allowed

    stricter = door.model_copy(update={"rules": (*door.rules, more.model_copy(update={"name": "more"}))})
    assert allowed(door) or not allowed(stricter)


@given(doors(), persons, moments)
def test_a_deny_rule_about_everybody_closes_every_door(
    door: Door, seen: Presented, now: datetime | None
) -> None:
    nobody = Rule(name="nobody", effect="deny", who=Who(anyone=True))
    closed = door.model_copy(update={"rules": (*door.rules, nobody)})
    assert not judge(closed, GROUPS, seen, now, lambda _: Agreement(9, 9)).allowed
