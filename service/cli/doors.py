"""Implements `halflight doors check`: is a file of doors right, and which of its rules decides, and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.cli.options import Json
from service.cli.output import GOOD, UNSURE, Failure, print_json, print_line, print_status, strip_control
from service.doors.document import DoorsError, read_doors
from service.doors.judging import Agreement, Explained, Presented, Verdict, judge
from service.doors.rules import Door, DoorsFile

app = typer.Typer(no_args_is_help=True, help="Check a file of doors, and explain what its rules say.")

MASKS = {"worn": (True,), "bare": (False,), "uncertain": (False, True)}


@app.callback()
def _group() -> None:
    """Keeps `check` a command of its own while it is the only one."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of doors, as TOML.")],
    subject: Annotated[
        str | None, typer.Option("--as", metavar="SUBJECT", help="Who stands before the camera.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When, with an offset: 2027-01-31T12:00:00+01:00.")
    ] = None,
    camera: Annotated[str | None, typer.Option(help="Which camera sees them.")] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A metadata field of the subject; JSON, else text. Repeat."),
    ] = None,
    mask: Annotated[
        Literal["worn", "bare", "uncertain"], typer.Option(help="What the frame says of a mask.")
    ] = "bare",
    spectrum: Annotated[Literal["nir", "vis"], typer.Option(help="The light of the frame.")] = "nir",
    quality: Annotated[int, typer.Option(min=0, max=100, help="The quality of the face.")] = 100,
    fmr: Annotated[float, typer.Option(help="The FMR that the decision was made by.")] = 1e-6,
    frames: Annotated[
        str, typer.Option(metavar="AGREE/OF", help="How many of how many frames agree.")
    ] = "1/1",
    as_json: Json = False,
) -> None:
    """Check a file of doors; with --as, --at and --camera say which rule decides about somebody, and why.

    It asks no service and opens nothing. What no option says is taken as the best case: a good frame, a
    strict threshold, a key that the door listens to.
    """
    try:
        found = read_doors(file)
    except DoorsError as error:
        raise Failure("the file of doors is wrong", detail=str(error), exit_code=2) from error
    asked = {"--as": subject, "--at": at, "--camera": camera}
    if all(value is None for value in asked.values()):
        _list(found, as_json=as_json)
        return
    if subject is None or at is None or camera is None:
        lacking = ", ".join(name for name, value in asked.items() if value is None)
        raise Failure(f"this needs {lacking} as well", exit_code=2)
    agreement = _agreement(frames)
    now, metadata = _moment(at), _metadata(field or [])
    doors = {name: door for name, door in found.doors.items() if camera in door.cameras}
    if not doors:
        raise Failure(f"no door has a camera {strip_control(camera)}", exit_code=2)
    for name, door in doors.items():
        seen = Presented(
            subject_id=subject,
            metadata=metadata,
            camera=camera,
            key_id="" if door.keys is None else door.keys[0],
            masks=MASKS[mask],
            spectrum=spectrum,
            quality=quality,
            fmr=fmr,
        )
        verdict = judge(door, found.groups, seen, now, lambda _: agreement)
        if as_json:
            print_json(_as_json(name, door, verdict))
        else:
            _explain(name, door, verdict)


def _list(found: DoorsFile, *, as_json: bool) -> None:
    for name, door in found.doors.items():
        rules = [rule.name for rule in door.rules]
        if as_json:
            print_json({"door": name, "dry_run": door.dry_run, "output": door.output.kind, "rules": rules})
            continue
        run = "dry run" if door.dry_run else "OPENS"
        if door.switchable:
            run = "dry run until an administrator switches it"
        print_line(f"{name}: {run}, {door.output.kind}, cameras {', '.join(door.cameras)}")
        print_line(f"  rules: {', '.join(rules)}")
        if all(rule.live_ms is None for rule in door.rules):
            print_line("  liveness: none; a printed photo or a mask may pass")
    print_status("the file of doors is right", GOOD)


def _explain(name: str, door: Door, verdict: Verdict) -> None:
    word = ("would open (dry run)" if door.dry_run else "opens") if verdict.allowed else "stays closed"
    by = "no rule lets them in" if verdict.rule is None else f"by rule {verdict.rule}"
    print_status(f"{name}: {word}, {by} ({verdict.reason})", GOOD if verdict.allowed else UNSURE)
    for one in verdict.explained:
        print_line(f"  {one.rule.effect} {one.rule.name}: {'holds' if one.holds else 'does not hold'}")
        for each in one.conditions:
            print_line(f"    {'yes' if each.met else 'no ':<3}  {each.check}: {strip_control(each.said)}")


def _as_json(name: str, door: Door, verdict: Verdict) -> dict[str, Any]:
    return {
        "door": name,
        "dry_run": door.dry_run,
        "allowed": verdict.allowed,
        "rule": verdict.rule,
        "reason": verdict.reason,
        "rules": [_rule_json(one) for one in verdict.explained],
    }


def _rule_json(one: Explained) -> dict[str, Any]:
    conditions = [asdict(each) for each in one.conditions]
    return {"name": one.rule.name, "effect": one.rule.effect, "holds": one.holds, "conditions": conditions}


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Failure("--at is a time such as 2027-01-31T12:00:00+01:00", exit_code=2) from error
    if moment.tzinfo is None:
        raise Failure("--at needs an offset, such as +01:00 or Z", exit_code=2)
    return moment


def _metadata(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise Failure("--field is NAME=VALUE", exit_code=2)
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _agreement(text: str) -> Agreement:
    agree, _, of = text.partition("/")
    if not (agree.isdecimal() and of.isdecimal()) or not 0 < int(agree) <= int(of):
        raise Failure("--frames is AGREE/OF, such as 2/3", exit_code=2)
    return Agreement(int(agree), int(of))
