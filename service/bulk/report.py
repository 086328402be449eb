"""Writes the report of a bulk enrolment: an HTML page that needs no other file, and a CSV.

Both are written as the journal is read, so that they need no more memory for more photos.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from io import StringIO
from pathlib import Path

from service.bulk.journal import Journal, Tally
from service.bulk.types import Conflict, ConflictKind, Outcome
from service.evaluation.page import CSP, STYLE
from service.evaluation.thumbnails import data_url

PAGE, LIST = "report.html", "report.csv"
# A page with more of them takes long to open; the CSV has every file.
MOST_SHOWN = 2000
COLUMNS = ("file", "subject", "result", "code", "reason", "conflict", "other_subject", "score", "sha256")
# A spreadsheet takes a cell that begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
# What a person needs to hear of a refusal, by its code.
Advice = Mapping[str, str]


def write_report(
    directory: Path, journal: Journal, *, title: str, made_at: str, advice: Advice | None = None
) -> None:
    """Writes both files whole, under their names once they are complete. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(directory / LIST, list_lines(journal))
    _write(directory / PAGE, page_parts(journal, title=title, made_at=made_at, advice=advice))


def _write(path: Path, parts: Iterable[str]) -> None:
    part = path.with_name(f".{path.name}.part")
    # Pictures and ids of people: for the owner alone.
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", newline="") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def list_lines(journal: Journal) -> Iterator[str]:
    """The CSV, line by line."""
    line = StringIO(newline="")
    rows = csv.writer(line)

    def written(cells: Iterable[str]) -> str:
        line.seek(0)
        line.truncate()
        rows.writerow(cells)
        return line.getvalue()

    yield written(COLUMNS)
    for one in journal.outcomes():
        result = "refused" if one.code else "existing" if one.existing else "enrolled"
        first = (one.name, one.subject_id or "", result, one.code or "", one.detail)
        for conflict in one.conflicts or (None,):
            last = ("", "", "") if conflict is None else _cells(conflict)
            yield written(_safe(cell) for cell in (*first, *last, one.digest or ""))


def _cells(conflict: Conflict) -> tuple[str, str, str]:
    score = "" if conflict.score is None else f"{conflict.score:.4f}"
    return conflict.kind.value, conflict.other or "", score


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def page_parts(journal: Journal, *, title: str, made_at: str, advice: Advice | None = None) -> Iterator[str]:
    """The HTML page, tile by tile."""
    tally = journal.tally()
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{CSP}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><p class='soft'>{escape(made_at)}. {escape(summary(tally))}.</p>"
    )
    yield from _reasons(tally, advice or {})
    yield "<h2>One face under two subjects</h2>"
    yield from _conflicts(journal, ConflictKind.TWO_SUBJECTS)
    yield "<h2>Two faces under one subject</h2>"
    yield from _conflicts(journal, ConflictKind.TWO_FACES)
    yield "<h2>Refused files</h2>"
    yield from _tiles(_refusal(one) for one in journal.outcomes(refused=True))
    yield "</body></html>\n"


def summary(tally: Tally) -> str:
    """One sentence with the numbers of a run, without a full stop."""
    said = f"{tally.enrolled} photos enrolled, {tally.refused} files refused, {tally.subjects} subjects"
    if tally.existing:
        said += f", {tally.existing} of the photos were there already"
    if tally.conflicts:
        said += f", {tally.conflicts} photos in conflict"
    return said


def _reasons(tally: Tally, advice: Advice) -> Iterator[str]:
    if not tally.by_code:
        return
    yield '<h2>Why files were refused</h2><div class="scroll"><table><thead><tr><th>code</th>'
    yield '<th class="n">files</th><th>what to do</th></tr></thead><tbody>'
    for code, count in tally.by_code.items():
        said = escape(advice.get(code, ""))
        yield f'<tr><td>{escape(code)}</td><td class="n">{count}</td><td>{said}</td></tr>'
    yield "</tbody></table></div>"


def _conflicts(journal: Journal, kind: ConflictKind) -> Iterator[str]:
    yield from _tiles(
        _conflict(one, each)
        for one in journal.outcomes(conflicting=True)
        for each in one.conflicts
        if each.kind is kind
    )


def _tiles(tiles: Iterable[str]) -> Iterator[str]:
    shown = 0
    for tile in tiles:
        if shown == 0:
            yield '<div class="tiles">'
        if shown == MOST_SHOWN:
            yield f"</div><p>... and more: {LIST} has them all.</p>"
            return
        shown += 1
        yield tile
    yield "</div>" if shown else "<p>None.</p>"


def _conflict(one: Outcome, conflict: Conflict) -> str:
    subject = escape(one.subject_id or "")
    if conflict.kind is ConflictKind.TWO_SUBJECTS:
        other = escape(conflict.other or "another subject")
        said = f"sent as <b>{subject}</b>, has the face of <b>{other}</b>"
    else:
        said = f"another face than the photos of <b>{subject}</b>"
    score = "" if conflict.score is None else f", score {conflict.score:.4f}"
    result = "refused" if one.code else "enrolled"
    return _tile(one, f"{said}{score}; {result}")


def _refusal(one: Outcome) -> str:
    return _tile(one, f"<b>{escape(one.code or '')}</b>: {escape(one.detail)}")


def _tile(one: Outcome, said: str) -> str:
    picture = ""
    if one.picture is not None:
        picture = f'<img alt="{escape(one.name)}" src="{data_url(one.picture)}"><br>'
    return f'<figure class="tile">{picture}<figcaption>{escape(one.name)}<br>{said}</figcaption></figure>'
