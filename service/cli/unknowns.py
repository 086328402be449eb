"""Implements `halflight unknowns`: review the faces that identification did not know, by person."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from service.cli.client import Answer, ServiceClient
from service.cli.enrol import parse_metadata
from service.cli.options import DEFAULT_URL, ConsentDate, ConsentReference, Json, Key, Url, check_consent
from service.cli.output import GOOD, UNSURE, Failure, print_json, print_status, print_table

app = typer.Typer(
    no_args_is_help=True,
    help="Review unknown faces by person, while the service keeps their crops. Needs an operator key.",
)

UnknownId = Annotated[
    str, typer.Argument(metavar="UNKNOWN", help="The id of the list, or of any of the face's events.")
]
COLUMNS = ("unknown", ">seen", "first", "last", "cameras", "", "picture")


@app.command("list")
def list_(
    ignored: Annotated[bool, typer.Option("--ignored", help="List the ignored ones as well.")] = False,
    pictures: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Write the best crop of each into this folder, as UNKNOWN.png. Nobody else erases them.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List unknown faces, the one that was seen last first."""
    with ServiceClient(url, key) as client:
        found = client.unknowns(ignored=ignored)
        shown = [
            one | ({} if pictures is None else {"picture": _picture(client, one, pictures)})
            for one in found["unknowns"]
        ]
    if as_json:
        for one in shown:
            print_json(one)
    else:
        print_table(COLUMNS, [_row(one) for one in shown])
        print_status(f"{len(shown)} unknown faces")
    if found["more"]:
        print_status("older sightings are kept, and were left out", UNSURE)


@app.command()
def enrol(
    unknown: UnknownId,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The subject's id, new or enrolled.")],
    display_name: Annotated[
        str | None, typer.Option(help="What people call the subject, in any script.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(help="JSON object kept with the subject.")] = None,
    consent_date: ConsentDate = None,
    consent_reference: ConsentReference = None,
    expires_at: Annotated[
        str | None, typer.Option(help="When retention erases the subject (ISO 8601, with a zone).")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Enrol an unknown face as a subject, from its best sightings: look at the pictures first."""
    check_consent(consent_date, consent_reference)
    asked: dict[str, Any] = {
        "subject_id": subject,
        "display_name": display_name,
        "metadata": None if metadata is None else parse_metadata(metadata),
        "consent": None if consent_date is None else {"date": consent_date, "reference": consent_reference},
        "expires_at": expires_at,
    }
    with ServiceClient(url, key) as client:
        answer = client.enrol_unknown(unknown, asked)
    if as_json:
        print_json(answer)
        return
    print_table(
        ("sample", ">quality", "remarks"),
        [
            (one["sample_id"], one["quality"]["score"], ", ".join(one["quality"]["reasons"]))
            for one in answer["samples"]
        ],
    )
    print_status(f"enrolled as {answer['subject_id']}", GOOD)


@app.command()
def ignore(
    unknown: UnknownId,
    undo: Annotated[bool, typer.Option("--undo", help="Show it again.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Hide an unknown face and what joins it later, as long as one of its pictures is kept."""
    with ServiceClient(url, key) as client:
        answer = client.ignore_unknown(unknown, ignored=not undo)
    if as_json:
        print_json(answer)
    else:
        print_status(
            f"{answer['count']} sightings of {answer['unknown_id']} are"
            f" {'ignored' if answer['ignored'] else 'shown again'}",
            GOOD,
        )


@app.command()
def forget(unknown: UnknownId, url: Url = DEFAULT_URL, key: Key = None, as_json: Json = False) -> None:
    """Erase every picture that is kept of an unknown face, at once and for good."""
    with ServiceClient(url, key) as client:
        answer = client.forget_unknown(unknown)
    if as_json:
        print_json(answer)
    else:
        print_status(f"{answer['erased']} sightings of {answer['unknown_id']} are erased", GOOD)


def _picture(client: ServiceClient, one: Answer, folder: Path) -> str:
    """Writes the best crop of a face for the owner alone; returns its place. Raises Failure."""
    path = folder / f"{one['unknown_id']}.png"
    png = client.crop(one["best_event_id"])
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(png)
    except OSError as error:
        raise Failure(f"{error.filename or path}: {error.strerror}") from error
    return str(path)


def _row(one: Answer) -> tuple[object, ...]:
    first, last = (one[name][:19].replace("T", " ") for name in ("first_seen", "last_seen"))
    state = Text("ignored", UNSURE) if one["ignored"] else Text("")
    return (
        *(one["unknown_id"], one["count"], first, last, ", ".join(one["cameras"])),
        *(state, one.get("picture", "")),
    )
