"""Mines hard negatives: parts of training pictures that a detector takes for faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from faces.files import write_whole
from training.data.records import DataSetError
from training.detector.candidates import Candidate
from training.detector.evaluate import load_image
from training.detector.matching import match
from training.detector.pictures import Kind, Pictures
from training.detector.sampler import HardNegative
from training.detector.scenes import face_arrays

# Not `worn`: the reference detector misses some masked faces, and they would become negatives.
KINDS: frozenset[Kind] = frozenset({"photo", "drawn", "nir", "nir-drawn", "empty"})
LOWEST_SCORE = 0.3


def mine_hard_negatives(
    candidate: Candidate, pictures: Pictures, *, on_picture: Callable[[], None] | None = None
) -> list[HardNegative]:
    """Returns the false positives of each picture; a doubtful face is not one."""
    found = []
    for index, entry in enumerate(pictures):
        if entry.kind in KINDS:
            seen = candidate.low.look(load_image(pictures, index))
            wrong = [seen[i] for i in match(seen, face_arrays(list(entry.faces))).false]
            found += [
                HardNegative(
                    source=entry.source,
                    box=(face.box.x, face.box.y, face.box.width, face.box.height),
                    score=face.score,
                )
                for face in wrong
                if face.score >= LOWEST_SCORE
            ]
        if on_picture is not None:
            on_picture()
    return found


def write_hard_negatives(path: Path, places: Sequence[HardNegative]) -> None:
    """Writes one place per line, whole or not at all."""
    write_whole(path, "".join(place.model_dump_json() + "\n" for place in places).encode())


def read_hard_negatives(path: Path) -> tuple[HardNegative, ...]:
    """Raises DataSetError if the file is not a list of places."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(HardNegative.model_validate_json(line) for line in lines)
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DataSetError(f"{path.name} is no list of places: make it with `detector mine`") from error
