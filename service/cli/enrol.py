"""`halflight enroll`: photos of one subject, or a folder of subjects."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from service.cli.folder import Photo, Plan, Rejection, idempotency_key, survey
from service.cli.options import DEFAULT_URL, Json, Key, Url
from service.cli.output import BAD, GOOD, Failure, emit, progress, say, show
from service.cli.problems import Refused
from service.cli.remote import Answer, Remote, read_file

# Refusals that every other file would meet as well.
NOT_THE_FILE = (401, 403, 404, 405, 429, 503)


def enroll(
    subject: Annotated[str | None, typer.Argument(help="The subject's id.")] = None,
    images: Annotated[list[Path] | None, typer.Argument(help="1 to 16 photos of the subject.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Instead: a folder with root/<subject>/<files>."),
    ] = None,
    metadata: Annotated[str | None, typer.Option(help="JSON object kept with the subject.")] = None,
    spectrum: Annotated[Literal["vis", "nir"], typer.Option(help="Of the photos.")] = "vis",
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Even if the face matches another subject.")
    ] = False,
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
    if folder is not None:
        if subject or metadata:
            raise typer.BadParameter("--folder takes neither SUBJECT and IMAGES nor --metadata")
        with Remote(url, key) as remote:
            _enroll_folder(
                remote, folder, spectrum=spectrum, allow_duplicate=allow_duplicate, jobs=jobs, as_json=as_json
            )
        return
    if not subject or not images:
        raise typer.BadParameter("give SUBJECT and IMAGES, or --folder")
    if metadata is not None:
        parse_metadata(metadata)
    with Remote(url, key) as remote:
        answer = remote.enroll(
            subject,
            [read_file(path) for path in images],
            # A fresh key: it makes a repetition after "try again" safe, and nothing else.
            idempotency_key=uuid.uuid4().hex,
            metadata=metadata,
            spectrum=spectrum,
            allow_duplicate=allow_duplicate,
        )
    if as_json:
        emit(answer)
    else:
        show(("photo", "result", ">quality", "sample", "reason"), enrolment_rows(images, answer))
    if answer["rejected"]:
        raise typer.Exit(1)


def parse_metadata(text: str) -> dict[str, Any]:
    """Raises BadParameter (exit code 2) unless it is a JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--metadata is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter('--metadata must be a JSON object, such as \'{"name": "Ada"}\'')
    return value


def enrolment_rows(images: list[Path], answer: Answer) -> Iterator[tuple[object, ...]]:
    """One row for each photo. The answer's samples are those not rejected, in the request's order."""
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
    remote: Remote, root: Path, *, spectrum: str, allow_duplicate: bool, jobs: int, as_json: bool
) -> None:
    plan = survey(root)
    if not plan.photos:
        raise Failure(f"{root} holds no photos", hint="it should hold one folder for each subject")

    def send(photo: Photo) -> Answer | Rejection:
        try:
            image = photo.path.read_bytes()
        except OSError as error:
            return Rejection(photo.name, "unreadable_file", error.strerror or "cannot be read")
        try:
            return remote.enroll(
                photo.subject_id,
                [image],
                idempotency_key=idempotency_key(
                    photo.subject_id, image, spectrum=spectrum, allow_duplicate=allow_duplicate
                ),
                spectrum=spectrum,
                allow_duplicate=allow_duplicate,
            )
        except Refused as refused:
            if refused.status in NOT_THE_FILE:
                raise
            return Rejection(photo.name, refused.code, str(refused.problem["detail"]))

    rejections = list(plan.rejections)
    if as_json:
        for rejection in rejections:
            _emit_rejection(rejection)
    for photo, outcome in zip(plan.photos, _send_all(plan, send, jobs), strict=True):
        if isinstance(outcome, Rejection):
            rejections.append(outcome)
            if as_json:
                _emit_rejection(outcome)
        elif as_json:
            emit({"file": photo.name} | outcome)
    enrolled = len(plan.photos) + len(plan.rejections) - len(rejections)
    if rejections and not as_json:
        show(("refused", "why", "detail"), ((r.name, r.code, r.detail) for r in rejections))
    say(
        f"{enrolled} photos enrolled, {len(rejections)} files refused, {plan.subjects} folders of subjects",
        BAD if rejections else GOOD,
    )
    if rejections:
        raise typer.Exit(1)


def _send_all(
    plan: Plan, send: Callable[[Photo], Answer | Rejection], jobs: int
) -> Iterator[Answer | Rejection]:
    """Outcomes in the plan's order, under a progress bar. Raises Failure saying how to go on."""
    done = 0
    with progress() as bar, ThreadPoolExecutor(jobs) as pool:
        task = bar.add_task(f"enrolling {plan.subjects} subjects", total=len(plan.photos))
        try:
            for outcome in pool.map(send, plan.photos):
                done += 1
                bar.advance(task)
                yield outcome
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, Failure):
                error.hint = f"{error.hint}\n{_how_to_go_on(done, plan)}".strip()
            elif isinstance(error, KeyboardInterrupt):
                say(_how_to_go_on(done, plan))
            raise


def _how_to_go_on(done: int, plan: Plan) -> str:
    return f"{done} of {len(plan.photos)} photos were sent; the same command goes on from there"


def _emit_rejection(rejection: Rejection) -> None:
    emit({"file": rejection.name, "problem": {"code": rejection.code, "detail": rejection.detail}})
