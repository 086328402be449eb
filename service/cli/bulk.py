"""Enrols a folder, an archive or a CSV over HTTP, with a progress bar and a report."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from service.bulk.journal import Journal
from service.bulk.report import LIST, PAGE, summary, write_report
from service.bulk.run import Earlier, EnrolPhoto, enrol_all, finished
from service.bulk.sources import Source, open_source
from service.bulk.types import (
    CONFLICT_CODES,
    BulkPhoto,
    Conflict,
    ConflictKind,
    Outcome,
    SourceCount,
    SourceError,
)
from service.cli.client import Answer, ServiceClient
from service.cli.output import BAD, GOOD, UNSURE, Failure, print_json, print_status, print_table, progress_bar
from service.cli.patience import Patience
from service.cli.problems import AFFECTS_EVERY_REQUEST, HINTS, ServiceRefusal

Options = Mapping[str, str | None]
MOST_NAMED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """What is asked for. `report`: folder of the report and of what an interrupted run goes on from."""

    source: Path
    options: Options
    report: Path | None
    jobs: int
    as_json: bool


def idempotency_key(subject_id: str, image: bytes, options: Options) -> str:
    """Returns one key for the same photo, subject and options.

    A request holds one photo, so a source that has grown since the last run enrols only the new photos.
    """
    digest = hashlib.sha256(image).hexdigest()
    what = json.dumps([subject_id, digest, dict(options)], sort_keys=True)
    return "folder-" + hashlib.sha256(what.encode()).hexdigest()


def enroll_source(client: ServiceClient, bulk: Bulk) -> bool:
    """Enrols a source and tells what became of it. Returns whether no file was refused. Raises Failure."""
    source = open_source(bulk.source)
    try:
        count = source.count()
    except SourceError as error:
        raise Failure(str(error)) from error
    if not count.photos:
        raise Failure(
            f"{bulk.source} holds no photos", hint="it should hold one folder for each subject, with photos"
        )
    with _journal_directory(bulk.report) as directory:
        try:
            asked = {"service": client.url, "source": str(bulk.source.absolute()), "options": bulk.options}
            with Journal(directory, asked) as journal:
                if known := len(journal):
                    print_status(f"{known} files were sent before; going on")
                warned = asyncio.run(_enrol(client, source, count, journal, bulk))
                _tell(journal, count, warned, bulk)
                good = journal.tally().refused == 0
                if bulk.report is not None:
                    made_at = datetime.now(UTC).isoformat(timespec="seconds")
                    title = f"Enrolment of {bulk.source.name or bulk.source.absolute().name}"
                    write_report(bulk.report, journal, title=title, made_at=made_at, advice=HINTS)
            if bulk.report is not None:
                journal.remove()
                print_status(f"report: {bulk.report / PAGE}, {bulk.report / LIST}")
        except OSError as error:
            raise Failure(
                f"{directory} cannot be written: {error.strerror}",
                hint="the same command goes on where it was",
            ) from error
    return good


@contextmanager
def _journal_directory(report: Path | None) -> Iterator[Path]:
    """The report's folder, or one that goes with the run."""
    if report is not None:
        yield report
        return
    with tempfile.TemporaryDirectory(prefix="halflight-enroll-") as place:
        yield Path(place)


async def _enrol(
    client: ServiceClient, source: Source, count: SourceCount, journal: Journal, bulk: Bulk
) -> dict[str, str]:
    """Returns the warnings of the service by their code. Raises Failure, which says how to continue."""
    warned, done = dict[str, str](), 0
    # The pool ends last, so whoever waits in it has been told to stop.
    with ThreadPoolExecutor(bulk.jobs) as pool, Patience() as patience, progress_bar() as bar:
        task = bar.add_task(f"enrolling {count.photos} photos", total=count.entries)
        outcomes = enrol_all(source, _sender(client, bulk, pool, patience), journal, at_once=bulk.jobs)
        try:
            async with aclosing(outcomes) as following:
                async for one in following:
                    done += 1
                    bar.advance(task)
                    _emit(one, bulk)
                    for warning in (one.answer or {}).get("warnings", ()):
                        warned[warning["code"]] = warning["detail"]
        except SourceError as error:
            raise Failure(str(error), hint=_how_to_continue(done, count)) from error
        except Failure as error:
            error.hint = f"{error.hint}\n{_how_to_continue(done, count)}".strip()
            raise
        except asyncio.CancelledError:
            print_status(_how_to_continue(done, count))
            raise
    return warned


def _sender(client: ServiceClient, bulk: Bulk, pool: ThreadPoolExecutor, patience: Patience) -> EnrolPhoto:
    async def send(photo: BulkPhoto, data: bytes, digest: str, before: Earlier) -> Outcome:
        await finished(before)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            pool, partial(_send, client, photo, data, digest, bulk.options, patience)
        )

    return send


def _send(
    client: ServiceClient,
    photo: BulkPhoto,
    data: bytes,
    digest: str,
    shared: Options,
    patience: Patience,
) -> Outcome:
    """Sends one photo, again while the service is away or at its limit: the same key makes that safe.

    Raises Failure if the service refuses more than this photo, or stays away.
    """
    own = {
        "spectrum": photo.spectrum,
        "display_name": photo.display_name,
        "metadata": None if photo.metadata is None else json.dumps(photo.metadata, sort_keys=True),
    }
    options = dict(shared) | {name: value for name, value in own.items() if value is not None}
    outcome = Outcome(name=photo.name, subject_id=photo.subject_id, digest=digest)
    try:
        answer = patience.until_answered(
            lambda: client.enroll(
                photo.subject_id,
                [data],
                idempotency_key=idempotency_key(photo.subject_id, data, options),
                options=options,
            )
        )
    except ServiceRefusal as refusal:
        if refusal.status in AFFECTS_EVERY_REQUEST:
            refusal.title = f"{photo.name}: {refusal.title}"
            raise
        return replace(
            outcome, code=refusal.code, detail=refusal.detail, conflicts=_refused_conflicts(refusal)
        )
    except Failure as failure:
        failure.title = f"{photo.name}: {failure.title}"
        raise
    return replace(
        outcome,
        existing=any(sample.get("existing", False) for sample in answer["samples"]),
        conflicts=tuple(_duplicate(found) for found in answer.get("duplicates", ())),
        answer=answer,
    )


def _refused_conflicts(refusal: ServiceRefusal) -> tuple[Conflict, ...]:
    kind = CONFLICT_CODES.get(refusal.code)
    return () if kind is None else (Conflict(kind, refusal.problem.get("subject_id")),)


def _duplicate(found: Answer) -> Conflict:
    return Conflict(ConflictKind.TWO_SUBJECTS, found["subject_id"], float(found["score"]))


def _emit(one: Outcome, bulk: Bulk) -> None:
    """Prints what a program reads, and conflicts that were not refused."""
    for conflict in one.conflicts if one.code is None else ():
        print_status(
            f"{one.name}: looks like subject {conflict.other} (score {conflict.score or 0:.3f})", UNSURE
        )
    if not bulk.as_json:
        return
    if one.code is not None:
        print_json({"file": one.name, "problem": {"code": one.code, "detail": one.detail}})
    elif one.answer is not None:
        print_json({"file": one.name} | one.answer)
    else:
        print_json({"file": one.name, "subject_id": one.subject_id, "sent_before": True})


def _tell(journal: Journal, count: SourceCount, warned: Mapping[str, str], bulk: Bulk) -> None:
    tally = journal.tally()
    if tally.refused and not bulk.as_json:
        refused = journal.outcomes(refused=True)
        named = [(one.name, one.code, one.detail) for one, _ in zip(refused, range(MOST_NAMED), strict=False)]
        print_table(("refused", "why", "detail"), named)
        if tally.refused > MOST_NAMED:
            print_status(f"... and {tally.refused - MOST_NAMED} more; --report DIR writes all of them")
    said = summary(tally)
    if count.skipped:
        said += f", {count.skipped} other files skipped"
    print_status(said, BAD if tally.refused else GOOD)
    for code, detail in warned.items():
        print_status(f"{code}, at least once: {detail}", UNSURE)


def _how_to_continue(done: int, count: SourceCount) -> str:
    return f"{done} of {count.entries} photos were sent; the same command goes on from there"
