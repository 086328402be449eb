"""Templates are kept while an evaluation runs, and a torn line costs one photo."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from faces.types import Role
from service.evaluation.described import Described, Reason, Template, describe_all
from service.evaluation.kept import NAME, KeptTemplates
from service.evaluation.labelled import LabelledPhoto
from tests.service.evaluation.made import usual

FOUND = usual(4, each=1)


def same(one: Template | Reason | None, other: Template | Reason) -> bool:
    if isinstance(one, Template) and isinstance(other, Template):
        return np.array_equal(one.vector, other.vector) and one.condition == other.condition
    return one == other


def test_what_was_described_is_found_again_by_another_process(tmp_path: Path) -> None:
    kept = KeptTemplates(tmp_path, "sp-1")
    for one in FOUND:
        kept.put(one.photo, one.digest, one.found)
    kept.put(FOUND[0].photo, "lost", Reason("no_face", "none"))
    kept.close(remove=False)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    again = KeptTemplates(tmp_path, "sp-1")
    assert all(same(again.get(one.photo, one.digest), one.found) for one in FOUND)
    assert again.get(FOUND[0].photo, "lost") == Reason("no_face", "none")
    assert again.get(FOUND[0].photo, "another file") is None
    again.close(remove=True)
    assert not (tmp_path / NAME).exists()


def test_a_torn_line_is_described_again_and_harms_no_other(tmp_path: Path) -> None:
    kept = KeptTemplates(tmp_path, "sp-1")
    for one in FOUND[:2]:
        kept.put(one.photo, one.digest, one.found)
    kept.close(remove=False)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:-20])
    again = KeptTemplates(tmp_path, "sp-1")
    assert len(again) == 1
    again.put(FOUND[1].photo, FOUND[1].digest, FOUND[1].found)
    again.close(remove=False)
    assert len(KeptTemplates(tmp_path, "sp-1")) == 2


def test_templates_of_another_space_are_of_no_use(tmp_path: Path) -> None:
    kept = KeptTemplates(tmp_path, "sp-1")
    kept.put(FOUND[0].photo, FOUND[0].digest, FOUND[0].found)
    kept.close(remove=False)
    assert len(KeptTemplates(tmp_path, "sp-2")) == 0


class Counting:
    """A describer that counts, and refuses a photo whose bytes say so."""

    space_id = "sp-1"

    def __init__(self) -> None:
        self.asked = 0

    async def describe(self, photo: LabelledPhoto, data: bytes) -> Template | Reason:
        self.asked += 1
        if data == b"stop":
            raise RuntimeError("the service went away")
        return FOUND[0].found


@pytest.mark.parametrize("at_once", [1, 3])
async def test_a_run_goes_on_where_it_was(tmp_path: Path, at_once: int) -> None:
    photos = []
    for number in range(20):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b"stop" if number == 15 else f"photo {number}".encode())
        photos.append(LabelledPhoto(subject="ada", path=path, name=path.name, role=Role.PROBE))
    first, kept = Counting(), KeptTemplates(tmp_path / "out", "sp-1")
    done: list[Described] = []
    described = describe_all(photos, first, kept, at_once=at_once)
    with pytest.raises(RuntimeError):
        while True:
            done.append(await anext(described))
    kept.close(remove=False)
    assert len(done) >= 12
    (tmp_path / "15.png").write_bytes(b"mended")
    (tmp_path / "3.png").unlink()
    second, kept = Counting(), KeptTemplates(tmp_path / "out", "sp-1")
    found = [one async for one in describe_all(photos, second, kept, at_once=at_once)]
    assert [one.photo.name for one in found] == [photo.name for photo in photos]
    assert isinstance(found[3].found, Reason)
    assert found[3].found.code == "unreadable_file"
    assert second.asked <= 8
    kept.close(remove=True)
