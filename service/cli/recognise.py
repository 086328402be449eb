"""`halflight identify` and `halflight verify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from service.cli.options import DEFAULT_URL, Fmr, Json, Key, ProbeSpectrum, Threshold, Url
from service.cli.output import GOOD, UNSURE, Failure, emit, progress, report, show
from service.cli.problems import Refused
from service.cli.remote import Answer, Remote, read_file

COLUMNS = (
    *("probe", "face", "seen as", ">quality", ">rank", "subject"),
    *(">score", ">threshold", ">target FMR", "decision"),
)
# Refusals that every other probe would meet as well.
NOT_THE_PROBE = (401, 403, 404, 405, 429, 503)


def identify(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Probes.")],
    top_k: Annotated[int | None, typer.Option(min=1, max=100, help="Candidates to list.")] = None,
    fmr: Fmr = None,
    threshold: Threshold = None,
    faces: Annotated[
        Literal["largest", "all"], typer.Option(help="Which faces of each picture.")
    ] = "largest",
    spectrum: ProbeSpectrum = "auto",
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Ask who is on each picture. An unknown face is an answer; exit code 1 if a picture was refused."""
    _one_rule(fmr, threshold)
    options = {"top_k": top_k, "fmr": fmr, "threshold": threshold, "faces": faces, "spectrum": spectrum}
    answers: list[tuple[Path, Answer]] = []
    failed: list[tuple[Path, Failure]] = []
    with Remote(url, key) as remote, progress() as bar:
        for path in bar.track(images, description="identifying"):
            try:
                answer = remote.identify(read_file(path), options)
            except Failure as refusal:
                if not _concerns_probe(refusal) or len(images) == 1:
                    raise
                failed.append((path, refusal))
                continue
            if as_json:
                emit({"file": str(path)} | answer)
            else:
                answers.append((path, answer))
    if answers:
        show(COLUMNS, (row for path, answer in answers for row in candidate_rows(path, answer)))
    for path, failure in failed:
        if as_json:
            emit({"file": str(path), "problem": _problem(failure)})
        failure.title = f"{path}: {failure.title}"
        report(failure)
    if failed:
        raise typer.Exit(1)


def candidate_rows(path: Path, answer: Answer) -> Iterator[tuple[object, ...]]:
    """One row for each candidate of each face; what belongs to the face stands in its first row."""
    for number, face in enumerate(answer["results"], 1):
        ahead: tuple[object, ...] = (path, number, seen_as(face["condition"]), face["quality"]["score"])
        rule = (f"{face['threshold']:.3f}", _rate(face["target_fmr"]))
        for candidate in face["candidates"]:
            score = f"{candidate['score']:.3f}"
            yield *ahead, candidate["rank"], candidate["subject_id"], score, *rule, decision(candidate)
            ahead, rule = ("",) * len(ahead), ("", "")
        if not face["candidates"]:
            yield *ahead, "", "", "", *rule, decision(face)


def verify(
    image: Annotated[Path, typer.Argument(help="The probe.")],
    subject: Annotated[str | None, typer.Option(help="Compare with this enrolled subject.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Or with the face on this picture.")] = None,
    fmr: Fmr = None,
    threshold: Threshold = None,
    spectrum: ProbeSpectrum = "auto",
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Ask whether a picture shows a subject, or the face of another picture. Both answers exit with 0."""
    _one_rule(fmr, threshold)
    if (subject is None) == (reference is None):
        raise typer.BadParameter("give --subject or --reference, one of them")
    with Remote(url, key) as remote:
        answer = remote.verify(
            read_file(image),
            subject_id=subject,
            reference=None if reference is None else read_file(reference),
            options={"fmr": fmr, "threshold": threshold, "spectrum": spectrum},
        )
    if as_json:
        emit(answer)
        return
    probe = answer["probe"]
    show(
        ("probe", "seen as", ">quality", "against", ">score", ">threshold", ">target FMR", "decision"),
        [
            (
                *(image, seen_as(probe["condition"]), probe["quality"]["score"], subject or reference),
                *(f"{answer['score']:.3f}", f"{answer['threshold']:.3f}", _rate(answer["target_fmr"])),
                decision(answer),
            )
        ],
    )


def seen_as(condition: dict[str, Any]) -> str:
    """What the probe was seen through, in words."""
    return f"{condition['spectrum']} {'masked' if condition['masked'] else 'unmasked'}"


def decision(decided: dict[str, Any]) -> Text:
    return Text(decided["decision"], GOOD if decided["decision"] == "match" else UNSURE)


def _rate(fmr: float | None) -> str:
    return "-" if fmr is None else f"{fmr:g}"


def _one_rule(fmr: float | None, threshold: float | None) -> None:
    if fmr is not None and threshold is not None:
        raise typer.BadParameter("give --fmr or --threshold, not both")


def _concerns_probe(failure: Failure) -> bool:
    """A refused or unreadable picture, rather than a service that does not answer."""
    if isinstance(failure, Refused):
        return failure.status not in NOT_THE_PROBE
    return isinstance(failure.__cause__, OSError)


def _problem(failure: Failure) -> dict[str, Any]:
    if isinstance(failure, Refused):
        return failure.problem
    return {"code": "unreadable_file", "detail": failure.title}
