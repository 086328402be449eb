"""Implements `halflight thresholds`: list, install and activate thresholds of a site."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from service.cli.client import Answer, ServiceClient, read_file
from service.cli.options import DEFAULT_URL, Json, Key, Url
from service.cli.output import GOOD, UNSURE, Failure, print_json, print_status, print_table

app = typer.Typer(no_args_is_help=True, help="List, install and activate thresholds of your own cameras.")

VERSIONS = ("version", "state", "made", "by", "cameras", "measured on", "note")
POINTS = ("camera", "references/probes", ">FMR", ">threshold", ">FMR at most", ">FNMR", "method", "set by")


@app.command("list")
def list_(url: Url = DEFAULT_URL, key: Key = None, as_json: Json = False) -> None:
    """Show what decides now, and every installed version. Needs an admin key."""
    with ServiceClient(url, key) as client:
        found = client.thresholds()
    if as_json:
        print_json(found)
        return
    print_table(POINTS, _point_rows(found["in_force"]))
    print_table(VERSIONS, [_version_row(one) for one in found["thresholds"]])
    _say_what_decides(found)


@app.command()
def install(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="thresholds.json or evaluation.json of `halflight evaluate`."),
    ],
    note: Annotated[str, typer.Option(help="What people should know about it.")] = "",
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Forget what the version in force has for other cameras and pairs."),
    ] = False,
    activate: Annotated[bool, typer.Option(help="Put it in force at once.")] = True,
    default_fmr: Annotated[
        float | None, typer.Option(help="Decide at this FMR unless a request says otherwise.")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Install thresholds as a new version. Needs an admin key."""
    asked: dict[str, Any] = {
        "thresholds": _table(file),
        "note": note,
        "replace": replace,
        "activate": activate,
    }
    if default_fmr is not None:
        asked["default_fmr"] = default_fmr
    with ServiceClient(url, key) as client:
        made = client.install_thresholds(asked)
        found = client.thresholds()
    if as_json:
        print_json(made)
        return
    said = f"version {made['version']} is installed"
    print_status(f"{said} and decides now" if made["active"] else f"{said}; it does not decide yet", GOOD)
    for warning in beyond_the_data(made["thresholds"], found["default_fmr"]):
        print_status(warning, UNSURE)
    print_status("back to the bundle's own: halflight thresholds activate bundle")


@app.command()
def activate(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A number of the list, or `bundle`.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Decide by another version, or by the bundle's own thresholds. Needs an admin key."""
    with ServiceClient(url, key) as client:
        found = client.activate_thresholds(version)
    if as_json:
        print_json(found)
        return
    _say_what_decides(found)


def beyond_the_data(table: Answer, default_fmr: float) -> Iterator[str]:
    """Says where the service's default FMR is stricter than what was measured."""
    for one in table["cameras"]:
        camera = "" if one["camera"] is None else f" of camera {one['camera']}"
        for points in one["pairs"]:
            strictest = min(point["fmr"] for point in points["points"])
            if strictest > default_fmr * (1 + 1e-6):
                yield (
                    f"{_pair(points)}{camera}: measured down to FMR {strictest:g}; at the default,"
                    f" {default_fmr:g}, the bundle's threshold decides, or the one measured if that is"
                    f" higher: ask with fmr={strictest:g}, or install with --default-fmr {strictest:g}"
                )


def _table(file: Path) -> Any:
    """The thresholds of either file. Raises Failure."""
    try:
        read = json.loads(read_file(file))
    except ValueError as error:
        raise Failure(f"{file} is no JSON", hint="name a file that `halflight evaluate` wrote") from error
    table = read.get("thresholds", read) if isinstance(read, dict) else None
    if not isinstance(table, dict):
        raise Failure(
            f"{file} holds no thresholds", hint="the report of the evaluation says why it suggests none"
        )
    return table


def _say_what_decides(found: Answer) -> None:
    version = found["active"]
    what = "the bundle's own thresholds decide" if version is None else f"version {version} decides"
    print_status(f"{what}; default FMR {found['default_fmr']:g}", GOOD)
    if unused := [str(one["version"]) for one in found["thresholds"] if not one["usable"]]:
        print_status(f"of another model's space or scores, and not used: version {', '.join(unused)}", UNSURE)
    # A service of an older version says nothing of it.
    if (aside := found.get("set_aside")) is not None:
        print_status(f"version {aside['version']} was in force and is set aside: {aside['why']}", UNSURE)


def _point_rows(tables: list[Answer]) -> Iterator[tuple[object, ...]]:
    for one in tables:
        for points in one["pairs"]:
            for point in points["points"]:
                fnmr = "-" if point["fnmr"] is None else f"{point['fnmr']:.4f}"
                yield (
                    *(
                        one["camera"] or "all",
                        _pair(points),
                        f"{point['fmr']:g}",
                        f"{point['threshold']:.4f}",
                    ),
                    *(f"{point['fmr_upper']:.2g}", fnmr, point["method"], point["set_by"]),
                )


def _version_row(one: Answer) -> tuple[object, ...]:
    state = Text("decides", GOOD) if one["active"] and one["usable"] else Text("")
    if not one["usable"]:
        state = Text("another model", UNSURE)
    cameras = ", ".join(each["camera"] or "all" for each in one["thresholds"]["cameras"])
    made = one["created_at"][:19]
    return one["version"], state, made, one["created_by"], cameras, one["thresholds"]["data"], one["note"]


def _pair(points: Answer) -> str:
    def side(condition: Answer) -> str:
        return f"{condition['spectrum']}-{'masked' if condition['masked'] else 'unmasked'}"

    return f"{side(points['reference'])}/{side(points['probe'])}"
