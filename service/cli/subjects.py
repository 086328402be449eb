"""Implements `halflight subjects`: list, show, change and erase subjects."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from service.cli.client import ServiceClient
from service.cli.enrol import parse_metadata
from service.cli.options import DEFAULT_URL, Json, Key, Url
from service.cli.output import print_json, print_status, print_table

app = typer.Typer(no_args_is_help=True, help="List, show, change and erase subjects.")

SubjectId = Annotated[str, typer.Argument(metavar="ID", help="The subject's id.")]


@app.command("list")
def list_(url: Url = DEFAULT_URL, key: Key = None, as_json: Json = False) -> None:
    """List every subject."""
    with ServiceClient(url, key) as client:
        if as_json:
            for subject in client.subjects():
                print_json(subject)
            return
        found = list(client.subjects())
    print_table(
        ("subject", ">samples", "created", "metadata"),
        ((s["subject_id"], s["samples"], _when(s["created_at"]), _compact(s["metadata"])) for s in found),
    )
    print_status(f"{len(found)} subjects")


@app.command("show")
def show_(subject_id: SubjectId, url: Url = DEFAULT_URL, key: Key = None, as_json: Json = False) -> None:
    """Show one subject with its samples."""
    with ServiceClient(url, key) as client:
        found = client.subject(subject_id)
    if as_json:
        print_json(found)
        return
    print_table(
        ("subject", "created", "updated", "metadata"),
        [
            (
                *(found["subject_id"], _when(found["created_at"]), _when(found["updated_at"])),
                _compact(found["metadata"]),
            )
        ],
    )
    print_table(
        ("sample", "spectrum", "masked", ">quality", ">inter-eye px", "created"),
        (
            (
                *(s["sample_id"], s["spectrum"], "yes" if s["masked"] else "no", s["quality_score"]),
                *(f"{s['inter_eye_px']:.0f}", _when(s["created_at"])),
            )
            for s in found["samples"]
        ),
    )


@app.command("set")
def set_(
    subject_id: SubjectId,
    metadata: Annotated[str, typer.Option(help="JSON object that replaces what is kept.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Replace the metadata of a subject."""
    parsed = parse_metadata(metadata)
    with ServiceClient(url, key) as client:
        changed = client.set_metadata(subject_id, parsed)
    if as_json:
        print_json(changed)
    else:
        print_table(("subject", "metadata"), [(changed["subject_id"], _compact(changed["metadata"]))])


@app.command()
def delete(
    subject_id: SubjectId,
    sample: Annotated[str | None, typer.Option(help="Erase only this sample of the subject.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Erase a subject with everything measured from it, at once and for good."""
    with ServiceClient(url, key) as client:
        receipt = client.erase(subject_id, sample)
    if as_json:
        print_json(receipt)
        return
    erased = receipt["erased"]
    print_table(
        ("erased", ">samples", ">templates", ">crops", ">audit entry"),
        [
            (
                *(subject_id if sample is None else f"{subject_id} / {sample}", erased["samples"]),
                *(erased["templates"], erased["crops"], receipt["audit_id"]),
            )
        ],
    )


def _when(stamp: str) -> str:
    return stamp[:19].replace("T", " ")


def _compact(metadata: object) -> str:
    return json.dumps(metadata, ensure_ascii=False) if metadata else ""
