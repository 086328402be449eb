"""Each kind of rule decides as the file says, and a wrong file is refused by its key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.doors.document import DoorsError, read_doors
from service.doors.judging import Agreement, Presented, Verdict, judge
from service.doors.votes import VoteBook
from service.doors.windows import inside
from tests.service.doors.support import OPEN_TO_ALL, doors_of, doors_text, person

# A Monday, noon in Berlin.
NOON = datetime(2027, 2, 1, 11, tzinfo=UTC)


def rule(text: str) -> str:
    return f'[[doors.front.rules]]\nname = "one"\neffect = "allow"\nmax_fmr = 1e-3\n{text}\n'


def judged(
    text: str,
    seen: Presented,
    *,
    now: datetime | None = NOON,
    groups: str = "",
    agreement: Agreement | None = None,
) -> Verdict:
    file = doors_of(doors_text(text, groups=groups))
    return judge(file.doors["front"], file.groups, seen, now, lambda _: agreement or Agreement(1, 1))


def test_nobody_passes_without_a_rule_that_names_them() -> None:
    verdict = judged(rule('who = { subjects = ["grace"] }'), person("ada"))
    assert (verdict.allowed, verdict.rule, verdict.reason) == (False, None, "no_rule_names_them")


def test_a_rule_that_names_somebody_lets_them_in() -> None:
    verdict = judged(rule('who = { subjects = ["ada"] }'), person("ada"))
    assert (verdict.allowed, verdict.rule, verdict.reason) == (True, "one", "allowed")


def test_a_deny_rule_wins_wherever_it_stands() -> None:
    verdict = judged(OPEN_TO_ALL, person("mallory"))
    assert (verdict.allowed, verdict.rule, verdict.reason) == (False, "not-mallory", "denied_by_rule")
    assert judged(OPEN_TO_ALL, person("ada")).allowed


@pytest.mark.parametrize(
    ("value", "metadata", "allowed"),
    [
        ('"research"', {"team": "research"}, True),
        ('"research"', {"team": "sales"}, False),
        ('"research"', {}, False),
        ("1", {"team": 1}, True),
        ("1", {"team": True}, False),
        ("1", {"team": "1"}, False),
        ("true", {"team": True}, True),
        ("true", {"team": 1}, False),
    ],
)
def test_a_group_is_a_metadata_field_of_one_value(
    value: str, metadata: dict[str, object], allowed: bool
) -> None:
    groups = f'[groups.staff]\nfield = "team"\nvalue = {value}'
    verdict = judged(rule('who = { groups = ["staff"] }'), person(metadata=metadata), groups=groups)
    assert verdict.allowed is allowed


def test_a_group_is_a_list_of_subjects() -> None:
    groups = '[groups.night]\nsubjects = ["ada"]'
    text = rule('who = { groups = ["night"] }')
    assert judged(text, person("ada"), groups=groups).allowed
    assert judged(text, person("grace"), groups=groups).reason == "no_rule_names_them"


def test_a_rule_holds_at_its_own_cameras() -> None:
    text = rule('who = { anyone = true }\ncameras = ["yard"]')
    assert judged(text, person(camera="yard")).allowed
    assert judged(text, person(camera="entry")).reason == "camera"


WHEN = 'when = { zone = "Europe/Berlin", windows = [{ days = ["mon"], from = "07:00", to = "12:00" }] }'


@pytest.mark.parametrize(
    ("hour", "allowed"), [(5, False), (6, True), (10, True), (11, False), (12, False), (23, False)]
)
def test_a_window_is_of_the_zones_own_clock(hour: int, allowed: bool) -> None:
    verdict = judged(
        rule(f"who = {{ anyone = true }}\n{WHEN}"), person(), now=datetime(2027, 2, 1, hour, 30, tzinfo=UTC)
    )
    assert (verdict.allowed, verdict.reason) == (allowed, "allowed" if allowed else "time")


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    def night(day: int, hour: int) -> bool:
        return inside(datetime(2027, 2, day, hour, tzinfo=UTC), "UTC", ("mon",), "22:00", "06:00")

    assert [night(1, 21), night(1, 22), night(2, 5), night(2, 6)] == [False, True, True, False]
    assert not night(1, 5), "the night from Sunday to Monday is Sunday's"


def test_a_window_follows_the_change_to_summer_time() -> None:
    # On 28 March 2027 the clocks of Berlin go from 02:00 to 03:00.
    assert inside(datetime(2027, 3, 27, 6, 0, tzinfo=UTC), "Europe/Berlin", ("sat",), "07:00", "08:00")
    assert inside(datetime(2027, 3, 28, 5, 0, tzinfo=UTC), "Europe/Berlin", ("sun",), "07:00", "08:00")
    assert not inside(datetime(2027, 3, 28, 6, 0, tzinfo=UTC), "Europe/Berlin", ("sun",), "07:00", "08:00")


def test_a_rule_has_a_first_and_a_last_moment() -> None:
    text = rule(
        'who = { anyone = true }\n[doors.front.rules.when]\nzone = "UTC"\n'
        "since = 2027-02-01T00:00:00Z\nuntil = 2027-02-02T00:00:00+01:00"
    )
    for hour, allowed in ((11, True), (22, True), (23, False)):
        assert judged(text, person(), now=NOON.replace(hour=hour)).allowed is allowed
    assert not judged(text, person(), now=datetime(2027, 1, 31, 23, 59, tzinfo=UTC)).allowed


def test_a_clock_that_is_not_believed_opens_nothing() -> None:
    assert judged(OPEN_TO_ALL, person(), now=None).reason == "clock_not_believed"


@pytest.mark.parametrize(
    ("asked", "masks", "allowed"),
    [
        ("required", (True,), True),
        ("required", (False,), False),
        ("required", (False, True), False),
        ("forbidden", (False,), True),
        ("forbidden", (True,), False),
        ("forbidden", (False, True), False),
        ("either", (False, True), True),
    ],
)
def test_an_allow_rule_is_certain_of_the_mask(asked: str, masks: tuple[bool, ...], allowed: bool) -> None:
    verdict = judged(rule(f'who = {{ anyone = true }}\nmask = "{asked}"'), person(masks=masks))
    assert (verdict.allowed, verdict.reason) == (allowed, "allowed" if allowed else "mask")


@pytest.mark.parametrize(("masks", "denied"), [((True,), True), ((False, True), True), ((False,), False)])
def test_a_deny_rule_holds_where_a_mask_may_be(masks: tuple[bool, ...], denied: bool) -> None:
    text = OPEN_TO_ALL + (
        '[[doors.front.rules]]\nname = "bare"\neffect = "deny"\nwho = { anyone = true }\nmask = "required"'
    )
    assert judged(text, person(masks=masks)).allowed is not denied


def test_spectrum_quality_and_threshold_have_floors() -> None:
    text = rule('who = { anyone = true }\nspectrum = "nir"\nmin_quality = 50')
    assert judged(text, person(quality=50, fmr=1e-3)).allowed
    assert judged(text, person(spectrum="vis")).reason == "spectrum"
    assert judged(text, person(quality=49)).reason == "quality"
    assert judged(text, person(fmr=2e-3)).reason == "threshold"
    assert judged(text, person(fmr=None)).reason == "threshold", "a threshold of one's own opens nothing"


def test_two_of_three_frames_are_more_than_one_frame() -> None:
    text = rule("who = { anyone = true }\nframes = { agree = 2, of = 3 }")
    assert judged(text, person()).reason == "frames"
    assert judged(text, person(votes=(2, 3))).allowed
    assert judged(text, person(votes=(4, 6))).allowed
    assert judged(text, person(votes=(3, 6))).reason == "frames"
    assert judged(text, person(votes=(1, 1))).reason == "frames"


def test_a_track_says_itself_how_many_frames_agree() -> None:
    text = rule("who = { anyone = true }\nframes = { agree = 2, of = 3, within_ms = 1000 }")
    assert judged(text, person(votes=(1, 3)), agreement=Agreement(3, 3)).reason == "frames"


def test_without_evidence_of_liveness_a_rule_that_asks_for_it_opens_nothing() -> None:
    text = rule("who = { anyone = true }\nlive_ms = 0")
    assert judged(text, person()).reason == "liveness"
    assert judged(text, person(liveness="live")).allowed
    assert judged(OPEN_TO_ALL, person(liveness="denied")).reason == "liveness_denied"


def test_liveness_must_last() -> None:
    text = rule("who = { anyone = true }\nlive_ms = 500\nframes = { agree = 2, of = 3, within_ms = 2000 }")
    live = person(liveness="live")
    for lasted, allowed in ((None, False), (499.0, False), (500.0, True)):
        assert judged(text, live, agreement=Agreement(2, 2, lasted)).allowed is allowed


def counted(text: str, *frames: tuple[float, Presented]) -> Verdict:
    """The verdict about the last of some frames, each with its time in seconds."""
    file = doors_of(doors_text(text))
    door, book = file.doors["front"], VoteBook(file.doors["front"])
    for at_s, seen in frames:
        book.add(seen.camera, [seen], at_s)
    at_s, last = frames[-1]
    return judge(door, file.groups, last, NOON, lambda one: book.agreement(one, last, at_s))


TWO = rule("who = { anyone = true }\nmin_quality = 50\nframes = { agree = 2, of = 3, within_ms = 1000 }")


def test_frames_of_one_camera_within_the_time_count_together() -> None:
    assert not counted(TWO, (0.0, person())).allowed
    assert counted(TWO, (0.0, person()), (0.9, person())).allowed
    assert not counted(TWO, (0.0, person()), (1.1, person())).allowed
    assert not counted(TWO, (0.0, person(camera="yard")), (0.5, person())).allowed
    assert counted(TWO, (0.0, person()), (0.3, person(None)), (0.6, person())).allowed
    assert not counted(
        TWO, (0.0, person()), (0.2, person(None)), (0.3, person("bob")), (0.6, person())
    ).allowed
    assert not counted(TWO, (0.0, person(quality=49)), (0.5, person())).allowed
    assert not counted(TWO, (0.0, person("bob")), (0.5, person())).allowed


def test_two_faces_in_one_frame_are_one_vote() -> None:
    file = doors_of(doors_text(TWO))
    book = VoteBook(file.doors["front"])
    book.add("entry", [person(), person()], 0.0)
    assert book.agreement(file.doors["front"].rules[0], person(), 0.1) == Agreement(1, 1)


def test_frames_of_a_key_that_the_door_does_not_listen_to_do_not_count() -> None:
    file = doors_of(doors_text(TWO, door='keys = ["k2"]'))
    book = VoteBook(file.doors["front"])
    book.add("entry", [person()], 0.0)
    book.add("entry", [person(key_id="k2")], 0.1)
    assert book.agreement(file.doors["front"].rules[0], person(key_id="k2"), 0.2).agree == 1
    door = file.doors["front"]
    assert judge(door, {}, person(), NOON, lambda _: Agreement(3, 3)).reason == "key_not_admitted"


def test_liveness_is_counted_back_to_the_last_frame_without_it() -> None:
    text = rule("who = { anyone = true }\nlive_ms = 400\nframes = { agree = 2, of = 5, within_ms = 1000 }")
    live, not_live = person(liveness="live"), person()
    assert counted(text, (0.0, live), (0.2, live), (0.4, live)).allowed
    assert not counted(text, (0.0, live), (0.2, not_live), (0.3, live), (0.5, live)).allowed


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (doors_text().replace("max_fmr", "max_fnr"), "doors.front.rules[0].max_fnr: there is no such key"),
        (doors_text().replace("max_fmr = 1e-2", ""), "doors.front.rules[0]: an allow rule says by which FMR"),
        (doors_text().replace("version = 1", ""), "version: this key is missing"),
        (doors_text().replace("version = 1", "version = 2"), "version: "),
        (doors_text(door='dry_run = "no"'), 'doors.front.dry_run: write true, false or "until-switched"'),
        (doors_text(door="dry_run = 1"), 'doors.front.dry_run: write true, false or "until-switched"'),
        (
            doors_text(rule('who = { groups = ["staff"] }')),
            "doors.front.rules.one.who.groups names the group",
        ),
        (doors_text(rule("who = { }")), "doors.front.rules[0].who: name `subjects` or `groups`"),
        (doors_text(rule("who = { anyone = true }\nframes = { agree = 3, of = 2 }")), "rules[0].frames: "),
        (
            doors_text(rule('who = { anyone = true }\nwhen = { zone = "Mars/Olympus" }')),
            "doors.front.rules[0].when.zone: no time zone 'Mars/Olympus' is known",
        ),
        (
            doors_text(rule("who = { anyone = true }\n" + WHEN.replace("07:00", "7am"))),
            "doors.front.rules[0].when.windows[0].from: write a time of the day as HH:MM",
        ),
        (doors_text(rule("who = { anyone = true }\nlive_ms = 500")), "live_ms needs frames over that time"),
        (doors_text(rule('who = { anyone = true }\ncameras = ["roof"]')), "names the camera roof"),
        (doors_text(OPEN_TO_ALL + "min_quality = 3"), "a deny rule has no min_quality"),
        (doors_text(output='kind = "http"\nurl = "ftp://x"'), "doors.front.output.url: the address is"),
        (doors_text(output='kind = "sesame"'), "doors.front.output: "),
        (doors_text(door="deadline_ms = 99999"), "doors.front.deadline_ms: "),
        ("version = ", "is no TOML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence_with_its_key(tmp_path: Path, wrong: str, said: str) -> None:
    path = tmp_path / "doors.toml"
    path.write_text(wrong)
    with pytest.raises(DoorsError) as refused:
        read_doors(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_door_is_a_dry_run_unless_it_says_otherwise() -> None:
    assert doors_of(doors_text()).doors["front"].dry_run
    assert not doors_of(doors_text(door="dry_run = false")).doors["front"].dry_run
