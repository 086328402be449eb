"""Looks for what a subject left: the bytes of its id, description, templates, crops and key in files and
their names.

Long values are looked for in pieces, because databases split them at the ends of pages.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faces.align import ALIGNMENTS
from service.store.gallery_log import to_bytes
from service.store.unit import UnitOfWork

PIECE_BYTES = 48
PIECES = 16
# Shorter texts, such as a desk number, are found everywhere by chance.
SHORTEST = 6


@dataclass(frozen=True, slots=True, repr=False)
class Trace:
    """A value of the subject. `what`: its kind, for people; `pieces`: bytes any of which would show it."""

    what: str
    pieces: tuple[bytes, ...]

    def shown_in(self, content: bytes | mmap.mmap) -> bool:
        return any(content.find(piece) >= 0 for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Found:
    """A file that holds a piece of a value, or a file or directory whose name does."""

    path: Path
    what: str


async def traces(uow: UnitOfWork, subject_id: str) -> tuple[Trace, ...]:
    """What to look for once the subject is erased; empty if it is not enrolled. Raises StoreError.

    `subject_id`: or the token of a subject whose id does not open. What does not open is not looked for.
    """
    record = await uow.subjects.get(subject_id)
    if record is None:
        return ()
    made = [] if record.subject_id == record.place else [_text("subject id", record.subject_id)]
    if record.display_name is not None:
        made.append(_text("display name", record.display_name))
    made += [_text("metadata", text) for text in sorted(set(_strings(record.metadata)))]
    terms = await uow.terms.get(subject_id)
    for what, text in (
        ("reason of the hold", terms.hold and terms.hold.reason),
        ("reference of the consent", terms.consent and terms.consent.reference),
    ):
        if text:
            made.append(_text(what, text))
    for key in (await uow.subject_keys.of_subjects([subject_id])).values():
        made.append(Trace("subject key", key.raw_pieces()))
    for space in await uow.spaces.all():
        for vector in await uow.templates.vectors_of(space.space_id, subject_id):
            made.append(_long("template", to_bytes(vector)))
            if uow.search.kept:
                row = await uow.search.stored_bytes(space.space_id, vector)
                made.append(_long("search vector", row))
    samples = [sample.sample_id for sample in await uow.samples.of_subject(subject_id)]
    for alignment in sorted(ALIGNMENTS):
        for crop in (await uow.crops.of_samples(samples, alignment)).values():
            if crop.png is not None:
                made.append(_long("crop", crop.png))
    return tuple(trace for trace in made if trace.pieces)


def search(directories: Iterable[Path], wanted: Sequence[Trace]) -> tuple[list[Found], int]:
    """Every file below these directories that shows one of the traces, and the number of files read. Names of
    files and directories below them count like contents.

    Blocks. Raises OSError for a file that cannot be read, which is not one without traces.
    """
    found, count = [], 0
    for directory in directories:
        for path in sorted(directory.rglob("*")):
            name = os.fsencode(path.name)
            found += [Found(path, f"{one.what} in its name") for one in wanted if one.shown_in(name)]
            if path.is_symlink() or not path.is_file():
                continue
            try:
                hits = _search_file(path, wanted)
            except FileNotFoundError:
                # Databases remove journals and temporary files at any time.
                continue
            count += 1
            found += [Found(path, what) for what in hits]
    return found, count


def _search_file(path: Path, wanted: Sequence[Trace]) -> list[str]:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            shown = [trace.what for trace in wanted if trace.shown_in(content)]
    return sorted(set(shown))


def _text(what: str, text: str) -> Trace:
    forms = {text.encode(), text.encode("ascii", "backslashreplace")}
    return Trace(what, tuple(sorted(form for form in forms if len(form) >= SHORTEST)))


def _long(what: str, value: bytes) -> Trace:
    last = max(0, len(value) - PIECE_BYTES)
    starts = sorted({last * i // (PIECES - 1) for i in range(PIECES)})
    return Trace(what, tuple(value[start : start + PIECE_BYTES] for start in starts))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
