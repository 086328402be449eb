"""A teacher's templates of every photo, computed once and stored in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import ValidationError

from faces.bundle import BundleError, read
from faces.files import write_array, write_whole
from faces.strict import Strict
from training.data.prepared import Indices
from training.data.records import DataSetError
from training.networks.teacher import Teacher, Vectors, embed_all
from training.pretrain.photos import NONE, Photos

PART_ROWS = 4096
FACTS = "teacher.json"


class TeacherFacts(Strict):
    """Which teacher made the templates in a folder, and of which photos."""

    space_id: str
    rows_digest: str
    photos: int


class Templates:
    """Unit templates [n, dimension] by photo, mapped into memory."""

    def __init__(self, folder: Path, count: int) -> None:
        self._parts: list[Vectors] = [
            np.load(folder / _part(i), mmap_mode="r") for i in range(-(-count // PART_ROWS))
        ]
        self.dimension = int(self._parts[0].shape[1])

    def rows(self, photos: Indices) -> Vectors:
        """float32 [n, dimension]."""
        return np.stack([self._parts[i // PART_ROWS][i % PART_ROWS] for i in photos.tolist()])


def _part(number: int) -> str:
    return f"teacher-{number:05d}.npy"


def make_templates(photos: Photos, bundle: Path, folder: Path) -> None:
    """Embeds the unmasked crop of every photo, part by part; keeps finished parts.

    Raises DataSetError if the bundle does not suit this set, or the folder holds other templates.
    """
    try:
        teacher, space = Teacher(bundle), read(bundle).manifest.space_id
    except BundleError as error:
        raise DataSetError(f"{bundle.name}: {error}") from error
    if teacher.spec.alignment != photos.info.alignment:
        raise DataSetError(
            f"{photos.info.name} is aligned to {photos.info.alignment}, the teacher wants"
            f" {teacher.spec.alignment}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    facts = TeacherFacts(space_id=space, rows_digest=photos.digest, photos=len(photos))
    _claim(folder, facts)
    crops = np.where(photos.plain != NONE, photos.plain, photos.worn)
    for number, start in enumerate(range(0, len(photos), PART_ROWS)):
        path = folder / _part(number)
        if path.is_file():
            continue
        part = photos.shards.crops(crops[start : start + PART_ROWS])
        label = f"teacher's templates, {start + len(part)} of {len(photos)}"
        write_array(path, embed_all(teacher, part, label=label))


def _claim(folder: Path, facts: TeacherFacts) -> None:
    path = folder / FACTS
    if not path.is_file():
        write_whole(path, facts.model_dump_json().encode())
        return
    try:
        before = TeacherFacts.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataSetError(f"{FACTS} there is not one of this command: choose another folder") from error
    if before != facts:
        raise DataSetError(f"{folder.name} holds templates of another teacher or set: choose another folder")
