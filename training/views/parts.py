"""Keeps the finished parts of a set while it is prepared: one file each, written whole and renamed."""

from __future__ import annotations

import fcntl
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from faces.files import write_whole
from faces.strict import Strict
from training.data.prepared import REFUSED_FILE, ROWS_FILE, SET_FILE, Refused, Row
from training.data.records import DataSetError
from training.views.locate import How
from training.views.prepare_sample import Crop, CropOrRefusal

KEY_FILE, NOTES_FILE, LOCK_FILE, PARTS, SPLITS = "prepare.json", "notes.json", ".lock", "parts", "splits"


class _CropFact(Strict):
    """A crop's facts; its pixels lie in the part's array, in the same order."""

    kind: Literal["crop"] = "crop"
    row: Row
    how: How


class _RefusedFact(Strict):
    kind: Literal["refused"] = "refused"
    refused: Refused


_FACTS: TypeAdapter[list[Annotated[_CropFact | _RefusedFact, Field(discriminator="kind")]]] = TypeAdapter(
    list[Annotated[_CropFact | _RefusedFact, Field(discriminator="kind")]]
)


def part_path(out: Path, number: int) -> Path:
    return out / PARTS / f"part-{number:06d}.npz"


def write_part(out: Path, number: int, made: Sequence[CropOrRefusal], *, side_px: int) -> None:
    """Writes a finished part."""
    crops = [item.pixels for item in made if isinstance(item, Crop)]
    facts: list[_CropFact | _RefusedFact] = [
        _CropFact(row=item.row, how=item.how) if isinstance(item, Crop) else _RefusedFact(refused=item)
        for item in made
    ]
    buffer = io.BytesIO()
    text = np.frombuffer(_FACTS.dump_json(facts), np.uint8)
    pixels = np.stack(crops) if crops else np.zeros((0, side_px, side_px, 3), np.uint8)
    np.savez(buffer, facts=text, crops=pixels)
    path = part_path(out, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def read_part(out: Path, number: int) -> list[CropOrRefusal]:
    """Returns what `write_part` was given. Raises DataSetError if the file is damaged."""
    path = part_path(out, number)
    try:
        with np.load(path) as part:
            facts = _FACTS.validate_json(part["facts"].tobytes())
            crops = iter(part["crops"])
        return [
            Crop(fact.row, next(crops), fact.how) if isinstance(fact, _CropFact) else fact.refused
            for fact in facts
        ]
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise DataSetError(f"{PARTS}/{path.name} is damaged: remove it and run the command again") from error


def check_options(out: Path, key: dict[str, str], *, again: bool) -> None:
    """Checks that the set in `out` was begun with the same options, or begins one.

    `again` removes what an earlier run made. Raises DataSetError if the options differ (it names them), or if
    the folder holds other things.
    """
    text = (json.dumps(key, indent=1, sort_keys=True) + "\n").encode()
    file = out / KEY_FILE
    if again and file.is_file():
        _clear(out)
    if file.is_file():
        try:
            found = json.loads(file.read_bytes())
        except ValueError as error:
            raise DataSetError(f"{out.name}/{KEY_FILE} is damaged: use --again to start over") from error
        changed = sorted(k for k in key.keys() | found.keys() if key.get(k) != found.get(k))
        if changed:
            shown = "; ".join(f"{k}: {_short(found.get(k))} there, {_short(key.get(k))} now" for k in changed)
            raise DataSetError(
                f"{out.name} was prepared with other options ({shown}): "
                "give another folder, or --again to make it anew"
            )
        return
    foreign = sorted(entry.name for entry in out.iterdir() if not entry.name.startswith((".", KEY_FILE)))
    if foreign:
        raise DataSetError(f"{out.name} holds other things ({foreign[0]}): give a new or empty folder")
    write_whole(file, text)


def _short(value: str | None) -> str:
    if value is None:
        return "nothing"
    return value if len(value) <= 40 else value[:37] + "..."


def _clear(out: Path) -> None:
    """Removes only what a run makes; the set's own file first, so that no broken set can be read."""
    for name in (SET_FILE, ROWS_FILE, REFUSED_FILE, NOTES_FILE):
        (out / name).unlink(missing_ok=True)
    for shard in out.glob("shard-*.npy"):
        shard.unlink()
    for folder in (PARTS, SPLITS):
        shutil.rmtree(out / folder, ignore_errors=True)
    # Last: while the key is there, the rest is known to be ours.
    (out / KEY_FILE).unlink(missing_ok=True)


def remove_parts(out: Path) -> None:
    """Removes the parts of a finished set."""
    shutil.rmtree(out / PARTS, ignore_errors=True)


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """Locks the folder for this process; the kernel releases it however the process ends.

    Raises DataSetError if another process has locked it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK_FILE).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataSetError(f"{out.name}: another prepare is at work there; wait for it") from error
        yield
