"""Implements `halflight enroll`: enrol photos of one subject, or many subjects from one source."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from service.cli.bulk import Bulk, enroll_source
from service.cli.client import Answer, ServiceClient, read_file
from service.cli.options import DEFAULT_URL, AskedTurn, ConsentDate, ConsentReference, Json, Key, Url
from service.cli.output import BAD, GOOD, UNSURE, print_json, print_status, print_table
from service.cli.problems import ServiceRefusal


def enroll(
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="SUBJECT|SOURCE",
            help="The subject's id, before its photos. Alone: a folder SOURCE/<subject>/<files>, a zip or tar"
            " of one, or a CSV: subject, path and, if wanted, display_name, metadata, spectrum.",
        ),
    ] = None,
    images: Annotated[list[Path] | None, typer.Argument(help="1 to 16 photos of the subject.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="The same as a folder as SOURCE."),
    ] = None,
    display_name: Annotated[
        str | None, typer.Option(help="What people call the subject, in any script.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(help="JSON object kept with the subject.")] = None,
    spectrum: Annotated[Literal["vis", "nir"], typer.Option(help="Of the photos.")] = "vis",
    turn: AskedTurn = None,
    duplicates: Annotated[
        Literal["refuse", "report", "ignore"] | None,
        typer.Option(help="A face that another subject has: refuse it, enrol and report it, or do not look."),
    ] = None,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="The same as --duplicates ignore.")
    ] = False,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Even if the face is not that of the subject's photos.")
    ] = False,
    consent_date: ConsentDate = None,
    consent_reference: ConsentReference = None,
    expires_at: Annotated[
        str | None, typer.Option(help="When retention erases the subject (ISO 8601, with a zone).")
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            max=32,
            help="Photos of a SOURCE in work at once; those of one subject go one after the other.",
        ),
    ] = 4,
    report: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder of the report of a SOURCE: report.html, report.csv. A run that was killed goes on"
            " from what it kept there.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Enrol photos of a subject, or all photos of a folder, an archive or a CSV.

    The same command goes on after an interruption, and no photo is enrolled twice.
    Exit code 1 if any photo was refused.
    """
    if allow_duplicate and duplicates not in (None, "ignore"):
        raise typer.BadParameter("--allow-duplicate and --duplicates say different things: give --duplicates")
    wanted: str | None = "ignore" if allow_duplicate else duplicates
    options = {"spectrum": spectrum, "duplicates": wanted, "turn": turn}
    options["allow_mismatch"] = "true" if allow_mismatch else None
    options |= {"consent_date": consent_date, "consent_reference": consent_reference}
    options["expires_at"] = expires_at
    if folder is not None and (subject or metadata or display_name):
        raise typer.BadParameter(
            "--folder takes neither SUBJECT and IMAGES nor --metadata and --display-name"
        )
    source = folder if folder is not None else _source(subject, images)
    if source is not None:
        if metadata or display_name:
            raise typer.BadParameter("--metadata and --display-name are of one subject: write them in a CSV")
        bulk = Bulk(source=source, options=options, report=report, jobs=jobs, as_json=as_json)
        with ServiceClient(url, key) as client:
            if not enroll_source(client, bulk):
                raise typer.Exit(1)
        return
    if report is not None:
        raise typer.BadParameter("--report needs a folder, an archive or a CSV")
    if not subject or not images:
        raise typer.BadParameter("give SUBJECT and IMAGES, or --folder, or one folder, archive or CSV")
    if metadata is not None:
        parse_metadata(metadata)
    with ServiceClient(url, key) as client:
        try:
            answer = client.enroll(
                subject,
                [read_file(path) for path in images],
                # A fresh key, which only makes a retry of this request safe.
                idempotency_key=uuid.uuid4().hex,
                options=options | {"metadata": metadata, "display_name": display_name},
            )
        except ServiceRefusal as refusal:
            name_photos(refusal, images)
            raise
    if as_json:
        print_json(answer)
    else:
        print_table(("photo", "result", ">quality", "sample", "reason"), enrolment_rows(images, answer))
        for warning in answer["warnings"]:
            print_status(f"{warning['code']}: {warning['detail']}", UNSURE)
    for found in answer.get("duplicates", ()):
        print_status(f"{images[found['index']]}: {_looks_like(found)}", UNSURE)
    if answer["rejected"]:
        raise typer.Exit(1)


def _source(subject: str | None, images: list[Path] | None) -> Path | None:
    """The source that stands alone in the place of the subject; None if there is no such file."""
    if not subject or images or not Path(subject).exists():
        return None
    return Path(subject)


def _looks_like(found: Answer) -> str:
    return f"looks like subject {found['subject_id']} (score {found['score']:.3f})"


def parse_metadata(text: str) -> dict[str, Any]:
    """Parses a JSON object. Raises BadParameter (exit code 2) if the text is anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--metadata is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter('--metadata must be a JSON object, such as \'{"name": "Ada"}\'')
    return value


def name_photos(refusal: ServiceRefusal, images: list[Path]) -> None:
    """Says which photos a refusal is about: the service counts them from 0 and knows no names."""
    rejected = refusal.problem.get("rejected") or ()
    if len(rejected) > 1:
        lines = [f"{images[r['index']]}: {r['code']}: {r['detail']}" for r in rejected]
        refusal.detail = "\n".join([str(refusal.problem["detail"]), *lines])
        return
    index = refusal.problem.get("index", 0 if len(images) == 1 else None)
    if isinstance(index, int) and index < len(images):
        refusal.title = f"{images[index]}: {refusal.title}"


def enrolment_rows(images: list[Path], answer: Answer) -> Iterator[tuple[object, ...]]:
    """Yields one row for each photo. The answer lists the accepted samples in the order of the request."""
    rejected = {reason["index"]: reason for reason in answer["rejected"]}
    samples = iter(answer["samples"])
    for index, path in enumerate(images):
        if (reason := rejected.get(index)) is not None:
            yield path, Text("refused", BAD), "", "", f"{reason['code']}: {reason['detail']}"
            continue
        sample = next(samples)
        quality = sample["quality"]
        yield (
            path,
            Text("enrolled", GOOD),
            quality["score"],
            sample["sample_id"],
            ", ".join(quality["reasons"]),
        )
