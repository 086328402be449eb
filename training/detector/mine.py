"""Places in training pictures that a detector takes for faces: the negatives from which it learns most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from faces.files import write_whole
from training.data.records import DataSetError
from training.detector.candidates import Candidate
from training.detector.choice import HardPlace
from training.detector.evaluate import image_of
from training.detector.matching import match
from training.detector.pictures import Kind, Pictures
from training.detector.scenes import placed

# Photos of masked faces are left out: the reference detector misses some, and they would be unlearned.
KINDS: frozenset[Kind] = frozenset({"photo", "drawn", "nir", "nir-drawn", "empty"})
LOWEST_SCORE = 0.3


def hard_places(
    candidate: Candidate, pictures: Pictures, *, on_picture: Callable[[], None] | None = None
) -> list[HardPlace]:
    """False positives of one look at each picture; what may be a face is none."""
    found = []
    for index, entry in enumerate(pictures):
        if entry.kind in KINDS:
            seen = candidate.low.look(image_of(pictures, index))
            wrong = [seen[i] for i in match(seen, placed(list(entry.faces))).false]
            found += [
                HardPlace(
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


def write_hard(path: Path, places: Sequence[HardPlace]) -> None:
    """One place a line, whole or not at all."""
    write_whole(path, "".join(place.model_dump_json() + "\n" for place in places).encode())


def read_hard(path: Path) -> tuple[HardPlace, ...]:
    """Raises DataSetError where it is no list of places."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return tuple(HardPlace.model_validate_json(line) for line in lines)
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise DataSetError(f"{path.name} is no list of places: make it with `detector mine`") from error
