"""Implements `halflight evaluate`: rates and thresholds of a site's own labelled photos."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from service.cli.evaluate_sources import GOES_ON, Opened, bundle_of, in_process, over_http
from service.cli.options import DEFAULT_URL, Json, Key
from service.cli.output import BAD, GOOD, UNSURE, Failure, print_json, print_status, print_table, progress_bar
from service.evaluation.described import Described, Template, describe_all, without_repeats
from service.evaluation.figures import SiteEvaluation
from service.evaluation.kept import KeptTemplates
from service.evaluation.labelled import LabelError, LabelledPhoto, read_labelled
from service.evaluation.measure import NothingToCompare, Setting, measure
from service.evaluation.page import COLUMNS, point_rows
from service.evaluation.report import PAGE, THRESHOLDS, facts_of, write_report
from service.evaluation.sentences import acquisition_sentence, coverage_sentence, default_warnings
from service.evaluation.thumbnails import thumbnail

MOST_NAMED = 20


def evaluate(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            exists=True,
            help="FOLDER/<subject>/references/* and FOLDER/<subject>/probes/[<camera>/]*, or a CSV with the"
            " columns path, subject, role and optionally spectrum, masked, camera.",
        ),
    ],
    to: Annotated[Path, typer.Option(help="Folder of the report.", file_okay=False)],
    url: Annotated[
        str, typer.Option("--service", "--url", envvar="HALFLIGHT_URL", help="Address of the service.")
    ] = DEFAULT_URL,
    key: Key = None,
    bundle: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Instead of a service: a bundle, in this process."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Or the bundle that serves this data directory's active space."
        ),
    ] = None,
    fmr: Annotated[
        list[float] | None,
        typer.Option(
            min=1e-9, max=0.5, help="FMR of a threshold, else those of the service; repeat for more."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=32, help="Photos in work at once.")] = 4,
    pictures: Annotated[bool, typer.Option(help="Show failed photos and mistakes in the report.")] = True,
    title: Annotated[str | None, typer.Option(help="Of the report; else the folder's name.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the service on your own labelled photos, and suggest thresholds for your cameras.

    It needs the role operator; with an admin key the report also shows the thresholds in force. A run that
    was interrupted goes on with the same command. A broken photo is named and left out.
    """
    if bundle is not None and data is not None:
        raise typer.BadParameter("give --bundle or --data, one of them")
    points = tuple(sorted(set(fmr), reverse=True)) if fmr else None
    try:
        photos = read_labelled(source)
    except LabelError as error:
        raise Failure(str(error), exit_code=2) from error
    opened: AbstractAsyncContextManager[Opened]
    if bundle is None and data is None:
        opened = over_http(url, key, points)
    else:
        opened = in_process(*bundle_of(bundle, data), points)
    try:
        found, setting, kept = asyncio.run(_described(photos, opened, to, jobs))
        evaluation = measure(found, setting)
    except NothingToCompare as error:
        raise Failure(str(error)) from error
    name, made_at = title or source.stem, datetime.now(UTC).isoformat(timespec="seconds")
    places = {one.photo.name: one for one in found} if pictures else {}
    try:
        written = write_report(
            to, evaluation, made_at=made_at, title=name, picture=lambda photo: _picture(places.get(photo))
        )
        kept.close(remove=True)
    except OSError as error:
        raise Failure(f"{to} cannot be written: {error.strerror}", hint=GOES_ON) from error
    if as_json:
        print_json(facts_of(evaluation, made_at=made_at, title=name))
    else:
        _print(evaluation)
    print_status(f"report: {written[PAGE]}", GOOD)
    if THRESHOLDS in written:
        print_status(f"to install these thresholds: halflight thresholds install {written[THRESHOLDS]}")


async def _described(
    photos: Sequence[LabelledPhoto],
    source: AbstractAsyncContextManager[Opened],
    to: Path,
    jobs: int,
) -> tuple[tuple[Described, ...], Setting, KeptTemplates]:
    """Raises Failure, which says how to go on."""
    async with source as opened:
        if opened.note:
            print_status(opened.note, UNSURE)
        try:
            kept = KeptTemplates(to, opened.setting.space_id)
        except OSError as error:
            raise Failure(f"{to} cannot be written: {error.strerror}", exit_code=2) from error
        if len(kept):
            print_status(f"{len(kept)} photos were described before; going on")
        found = list[Described]()
        with progress_bar() as bar:
            task = bar.add_task(f"describing {len(photos)} photos", total=len(photos))
            try:
                async for one in describe_all(photos, opened.describer, kept, at_once=jobs):
                    found.append(one)
                    bar.advance(task)
            except BaseException as error:
                kept.close(remove=False)
                said = f"{len(found)} of {len(photos)} photos are described; {GOES_ON}"
                if isinstance(error, Failure):
                    error.hint = f"{error.hint}\n{said}".strip()
                else:
                    print_status(said)
                raise
        return without_repeats(found), opened.setting, kept


def _picture(one: Described | None) -> str | None:
    if one is None:
        return None
    return thumbnail(one.photo.path, one.found.box if isinstance(one.found, Template) else None)


def _print(evaluation: SiteEvaluation) -> None:
    if evaluation.lost:
        rows = [(one.name, one.code, one.detail) for one in evaluation.lost[:MOST_NAMED]]
        print_table(("without a template", "why", "detail"), rows)
        if len(evaluation.lost) > MOST_NAMED:
            print_status(f"... and {len(evaluation.lost) - MOST_NAMED} more, all in the report")
    print_table(COLUMNS, [row for one in evaluation.pairs for row in point_rows(one)])
    for one in evaluation.pairs:
        print_status(coverage_sentence(one), GOOD if one.coverage.supports else UNSURE)
    for acquired in evaluation.acquisition:
        print_status(acquisition_sentence(acquired), BAD if acquired.failed else None)
    for warning in default_warnings(evaluation):
        print_status(warning, UNSURE)
