"""Keeps what finished jobs of a set made, so that a killed build goes on where it was."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from faces.files import write_whole
from faces.strict import Strict
from faces.types import Pixels
from training.data.prepared import Refused, Row
from training.data.records import DataSetError
from training.data.set_writer import Made

PREFIX = "parts-"


class _MadeFact(Strict):
    """A crop's row; its pixels lie in the part's array, in the same order."""

    kind: Literal["made"] = "made"
    row: Row


class _RefusedFact(Strict):
    kind: Literal["refused"] = "refused"
    refused: Refused


_FACTS: TypeAdapter[list[Annotated[_MadeFact | _RefusedFact, Field(discriminator="kind")]]] = TypeAdapter(
    list[Annotated[_MadeFact | _RefusedFact, Field(discriminator="kind")]]
)


def jobs_key(jobs: Sequence[object], *facts: bytes) -> str:
    """A digest of the jobs and of what else decides the set; parts of another key are never used."""
    digest = hashlib.sha256()
    for fact in (*facts, *map(pickle.dumps, jobs)):
        digest.update(hashlib.sha256(fact).digest())
    return digest.hexdigest()[:16]


class JobParts:
    """Parts of a build in a folder beside the set, each written whole.

    Parts of a build with other jobs or files are removed: they can serve nobody.
    """

    def __init__(self, out: Path, key: str) -> None:
        self._out, self._folder = out, out / f"{PREFIX}{key}"
        for other in out.glob(f"{PREFIX}*"):
            if other != self._folder:
                shutil.rmtree(other)
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, number: int) -> Path:
        return self._folder / f"part-{number:06d}.npz"

    def write(self, number: int, items: Sequence[Made | Refused], *, side_px: int) -> None:
        facts: list[_MadeFact | _RefusedFact] = [
            _MadeFact(row=item.row) if isinstance(item, Made) else _RefusedFact(refused=item)
            for item in items
        ]
        crops = [item.crop for item in items if isinstance(item, Made)]
        pixels: Pixels = np.stack(crops) if crops else np.zeros((0, side_px, side_px, 3), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, facts=np.frombuffer(_FACTS.dump_json(facts), np.uint8), crops=pixels)
        write_whole(self.path(number), buffer.getvalue())

    def read(self, number: int) -> list[Made | Refused]:
        """Returns what `write` was given. Raises DataSetError if the file is damaged."""
        path = self.path(number)
        try:
            with np.load(path) as part:
                facts = _FACTS.validate_json(part["facts"].tobytes())
                crops = iter(part["crops"])
            return [
                Made(fact.row, next(crops)) if isinstance(fact, _MadeFact) else fact.refused for fact in facts
            ]
        except (OSError, ValueError, KeyError, StopIteration) as error:
            raise DataSetError(f"{path.name} is damaged: remove it and run the command again") from error

    def remove(self) -> None:
        """Removes the parts of a finished set."""
        shutil.rmtree(self._folder)
