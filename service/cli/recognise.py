"""Implements `halflight identify` and `halflight verify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from service.cli.client import Answer, ServiceClient, read_file
from service.cli.options import DEFAULT_URL, AskedTurn, Camera, Fmr, Json, Key, ProbeSpectrum, Threshold, Url
from service.cli.output import GOOD, UNSURE, Failure, print_failure, print_json, print_table, progress_bar
from service.cli.problems import AFFECTS_EVERY_REQUEST, ServiceRefusal

COLUMNS = (
    *("probe", "face", "seen as", ">quality", ">rank", "subject"),
    *(">score", ">threshold", ">target FMR", "decision"),
)


def identify(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Probes.")],
    top_k: Annotated[int | None, typer.Option(min=1, max=100, help="Candidates to list.")] = None,
    fmr: Fmr = None,
    threshold: Threshold = None,
    fpir: Annotated[
        float | None,
        typer.Option(
            help="Decide so that a stranger matches anybody of the gallery this rarely, such as .01."
        ),
    ] = None,
    faces: Annotated[
        Literal["largest", "all"], typer.Option(help="Which faces of each picture.")
    ] = "largest",
    spectrum: ProbeSpectrum = "auto",
    turn: AskedTurn = None,
    camera: Camera = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Ask who is on each picture. An unknown face is an answer; exit code 1 if a picture was refused."""
    _check_one_threshold(fmr=fmr, threshold=threshold, fpir=fpir)
    options = {
        "top_k": top_k,
        "fmr": fmr,
        "threshold": threshold,
        "fpir": fpir,
        "faces": faces,
        "spectrum": spectrum,
        "turn": turn,
        "camera": camera,
    }
    answers: list[tuple[Path, Answer]] = []
    failed: list[tuple[Path, Failure]] = []
    with ServiceClient(url, key) as client, progress_bar() as bar:
        for path in bar.track(images, description="identifying"):
            try:
                answer = client.identify(read_file(path), options)
            except Failure as refusal:
                if not _is_probe_error(refusal) or len(images) == 1:
                    _name(refusal, path)
                    raise
                failed.append((path, refusal))
                continue
            if as_json:
                print_json({"file": str(path)} | answer)
            else:
                answers.append((path, answer))
    if answers:
        print_table(COLUMNS, (row for path, answer in answers for row in candidate_rows(path, answer)))
    for path, failure in failed:
        if as_json:
            print_json({"file": str(path), "problem": _problem(failure)})
        _name(failure, path)
        print_failure(failure)
    if failed:
        raise typer.Exit(1)


def candidate_rows(path: Path, answer: Answer) -> Iterator[tuple[object, ...]]:
    """Yields one row for each candidate of each face; the first row also holds the facts of the face."""
    for number, face in enumerate(answer["results"], 1):
        prefix: tuple[object, ...] = (
            path,
            number,
            condition_text(face["condition"]),
            face["quality"]["score"],
        )
        rule = (_score(face["threshold"]), _rate(face["target_fmr"]))
        for candidate in face["candidates"]:
            score = f"{candidate['score']:.3f}"
            yield *prefix, candidate["rank"], candidate["subject_id"], score, *rule, decision(candidate)
            prefix, rule = ("",) * len(prefix), ("", "")
        if not face["candidates"]:
            yield *prefix, "", "", "", *rule, decision(face)


def verify(
    image: Annotated[Path, typer.Argument(help="The probe.")],
    subject: Annotated[str | None, typer.Option(help="Compare with this enrolled subject.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Or with the face on this picture.")] = None,
    fmr: Fmr = None,
    threshold: Threshold = None,
    spectrum: ProbeSpectrum = "auto",
    turn: AskedTurn = None,
    camera: Camera = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Ask whether a picture shows a subject, or the face of another picture. Both answers exit with 0."""
    _check_one_threshold(fmr=fmr, threshold=threshold)
    if (subject is None) == (reference is None):
        raise typer.BadParameter("give --subject or --reference, one of them")
    with ServiceClient(url, key) as client:
        try:
            answer = client.verify(
                read_file(image),
                subject_id=subject,
                reference=None if reference is None else read_file(reference),
                options={
                    "fmr": fmr,
                    "threshold": threshold,
                    "spectrum": spectrum,
                    "turn": turn,
                    "camera": camera,
                },
            )
        except Failure as failure:
            # The service does not say which of two pictures it refused.
            _name(failure, *(path for path in (image, reference) if path is not None))
            raise
    if as_json:
        print_json(answer)
        return
    probe = answer["probe"]
    print_table(
        ("probe", "seen as", ">quality", "against", ">score", ">threshold", ">target FMR", "decision"),
        [
            (
                *(image, condition_text(probe["condition"]), probe["quality"]["score"], subject or reference),
                *(f"{answer['score']:.3f}", _score(answer["threshold"]), _rate(answer["target_fmr"])),
                decision(answer),
            )
        ],
    )


def condition_text(condition: dict[str, Any]) -> str:
    """Returns the condition as text, such as `nir masked`."""
    return f"{condition['spectrum']} {'masked' if condition['masked'] else 'unmasked'}"


def decision(decided: dict[str, Any]) -> Text:
    return Text(decided["decision"], GOOD if decided["decision"] == "match" else UNSURE)


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def _rate(fmr: float | None) -> str:
    return "-" if fmr is None else f"{fmr:g}"


def _check_one_threshold(**asked: float | None) -> None:
    given = [f"--{name}" for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise typer.BadParameter(f"give {' or '.join(given)}, not {'both' if len(given) == 2 else 'all'}")


def _is_probe_error(failure: Failure) -> bool:
    """Returns whether the failure concerns one probe rather than the service."""
    if isinstance(failure, ServiceRefusal):
        return failure.status not in AFFECTS_EVERY_REQUEST
    return isinstance(failure.__cause__, OSError)


def _name(failure: Failure, *paths: Path) -> None:
    """Lets a failure begin with the files that it is about, unless it does."""
    if not any(failure.title.startswith(f"{path}: ") for path in paths):
        failure.title = f"{' and '.join(map(str, paths))}: {failure.title}"


def _problem(failure: Failure) -> dict[str, Any]:
    if isinstance(failure, ServiceRefusal):
        return failure.problem
    return {"code": "unreadable_file", "detail": failure.title}
