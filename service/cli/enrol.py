"""Implements `halflight enroll`: enrol photos of one subject, or a folder of subjects."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from service.cli.client import Answer, ServiceClient, read_file
from service.cli.folder import FolderScan, Photo, Rejection, idempotency_key, scan_folder
from service.cli.options import DEFAULT_URL, AskedTurn, ConsentDate, ConsentReference, Json, Key, Url
from service.cli.output import BAD, GOOD, UNSURE, Failure, print_json, print_status, print_table, progress_bar
from service.cli.problems import AFFECTS_EVERY_REQUEST, ServiceRefusal


def enroll(
    subject: Annotated[str | None, typer.Argument(help="The subject's id.")] = None,
    images: Annotated[list[Path] | None, typer.Argument(help="1 to 16 photos of the subject.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Instead: a folder with root/<subject>/<files>."),
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
            help="Requests at once with --folder. With more than one, two photos of one face that are"
            " sent together may both pass the duplicate check.",
        ),
    ] = 1,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Enrol photos of a subject, or a whole folder.

    A folder can be sent again after an interruption: within a day, no photo is enrolled twice.
    Exit code 1 if any photo was refused.
    """
    if allow_duplicate and duplicates not in (None, "ignore"):
        raise typer.BadParameter("--allow-duplicate and --duplicates say different things: give --duplicates")
    wanted: str | None = "ignore" if allow_duplicate else duplicates
    options = {"spectrum": spectrum, "duplicates": wanted, "turn": turn}
    options["allow_mismatch"] = "true" if allow_mismatch else None
    options |= {"consent_date": consent_date, "consent_reference": consent_reference}
    options["expires_at"] = expires_at
    if folder is not None:
        if subject or metadata or display_name:
            raise typer.BadParameter(
                "--folder takes neither SUBJECT and IMAGES nor --metadata and --display-name"
            )
        with ServiceClient(url, key) as client:
            _enroll_folder(client, folder, options, jobs=jobs, as_json=as_json)
        return
    if not subject or not images:
        raise typer.BadParameter("give SUBJECT and IMAGES, or --folder")
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


def _enroll_folder(
    client: ServiceClient, root: Path, options: Mapping[str, str | None], *, jobs: int, as_json: bool
) -> None:
    scan = scan_folder(root)
    if not scan.photos:
        raise Failure(f"{root} holds no photos", hint="it should hold one folder for each subject")

    def send(photo: Photo) -> Answer | Rejection:
        try:
            image = photo.path.read_bytes()
        except OSError as error:
            return Rejection(photo.name, "unreadable_file", error.strerror or "cannot be read")
        try:
            return client.enroll(
                photo.subject_id,
                [image],
                idempotency_key=idempotency_key(photo.subject_id, image, options),
                options=options,
            )
        except ServiceRefusal as refusal:
            if refusal.status in AFFECTS_EVERY_REQUEST:
                refusal.title = f"{photo.name}: {refusal.title}"
                raise
            return Rejection(photo.name, refusal.code, refusal.detail)
        except Failure as failure:
            failure.title = f"{photo.name}: {failure.title}"
            raise

    rejections, warned = list(scan.rejections), dict[str, str]()
    if as_json:
        for rejection in rejections:
            _emit_rejection(rejection)
    for photo, outcome in zip(scan.photos, _send_all(scan, send, jobs), strict=True):
        if isinstance(outcome, Rejection):
            rejections.append(outcome)
            if as_json:
                _emit_rejection(outcome)
            continue
        if as_json:
            print_json({"file": photo.name} | outcome)
        for found in outcome.get("duplicates", ()):
            print_status(f"{photo.name}: {_looks_like(found)}", UNSURE)
        warned |= {warning["code"]: warning["detail"] for warning in outcome["warnings"]}
    enrolled = len(scan.photos) + len(scan.rejections) - len(rejections)
    if rejections and not as_json:
        print_table(("refused", "why", "detail"), ((r.name, r.code, r.detail) for r in rejections))
    counts = (
        f"{enrolled} photos enrolled, {len(rejections)} files refused, {scan.subjects} folders of subjects"
    )
    if scan.skipped:
        counts += f", {scan.skipped} other files skipped"
    print_status(counts, BAD if rejections else GOOD)
    for code, detail in warned.items():
        print_status(f"{code}, at least once: {detail}", UNSURE)
    if rejections:
        raise typer.Exit(1)


def _send_all(
    scan: FolderScan, send: Callable[[Photo], Answer | Rejection], jobs: int
) -> Iterator[Answer | Rejection]:
    """Yields outcomes in the order of the photos, under a progress bar.

    Raises Failure, which says how to continue, if the service stops answering.
    """
    done = 0
    with progress_bar() as bar, ThreadPoolExecutor(jobs) as pool:
        task = bar.add_task(f"enrolling {scan.subjects} subjects", total=len(scan.photos))
        try:
            for outcome in pool.map(send, scan.photos):
                done += 1
                bar.advance(task)
                yield outcome
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, Failure):
                error.hint = f"{error.hint}\n{_how_to_continue(done, scan)}".strip()
            elif isinstance(error, KeyboardInterrupt):
                print_status(_how_to_continue(done, scan))
            raise


def _how_to_continue(done: int, scan: FolderScan) -> str:
    return f"{done} of {len(scan.photos)} photos were sent; the same command goes on from there"


def _emit_rejection(rejection: Rejection) -> None:
    print_json({"file": rejection.name, "problem": {"code": rejection.code, "detail": rejection.detail}})
