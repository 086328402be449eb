"""Labelled folders and lists are read whole, or refused with the place of the fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from faces.types import Role, Spectrum
from service.evaluation.labelled import LabelError, LabelledPhoto, read_labelled


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"never opened here")
    return root


def rows(found: tuple[LabelledPhoto, ...]) -> list[tuple[object, ...]]:
    return [(one.subject, one.name, one.role, one.spectrum, one.masked, one.camera) for one in found]


def test_a_folder_gives_references_probes_and_cameras(tmp_path: Path) -> None:
    root = tree(
        tmp_path / "set",
        *("ada/references/1.jpg", "ada/references/notes.txt", "ada/probes/a.png"),
        *("ada/probes/door-1/b.png", "ada/probes/.hidden", "ada/probes/door-1/Thumbs.db"),
        *("bo/vis/1.jpg", "bo/nir/2.png", "readme.txt"),
    )
    assert rows(read_labelled(root)) == [
        ("ada", "ada/probes/a.png", Role.PROBE, None, None, None),
        ("ada", "ada/probes/door-1/b.png", Role.PROBE, None, None, "door-1"),
        ("ada", "ada/references/1.jpg", Role.REFERENCE, None, None, None),
        ("bo", "bo/nir/2.png", Role.PROBE, Spectrum.NIR, None, None),
        ("bo", "bo/vis/1.jpg", Role.REFERENCE, Spectrum.VIS, None, None),
    ]


def test_a_list_says_what_a_folder_cannot(tmp_path: Path) -> None:
    listed = tmp_path / "photos.csv"
    listed.write_text(
        "path,subject,role,spectrum,masked,camera\n"
        "a/1.jpg,ada,reference,,,\n"
        'a\\2.png,ada,probe,nir,true,"gate:2"\n'
        "a/3.png,ada,,nir,,\n"
        "a/4.png,ada,none,,,\n"
    )
    found = read_labelled(listed)
    assert rows(found) == [
        ("ada", "a/1.jpg", Role.REFERENCE, None, None, None),
        ("ada", "a/2.png", Role.PROBE, Spectrum.NIR, True, "gate:2"),
        ("ada", "a/3.png", Role.PROBE, Spectrum.NIR, None, None),
    ]
    assert found[1].path == tmp_path / "a" / "2.png"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x.png,ada,guest,,,", "line 2: role"),
        ("x.png,,probe,,,", "line 2: it names no subject"),
        ("x.png,ada,,,,", "line 2: it needs a role"),
        ("../x.png,ada,probe,,,", "line 2: its path"),
        ("/x.png,ada,probe,,,", "line 2: its path"),
        ("x.png,ada,probe,uv,,", "line 2: spectrum"),
        ("x.png,ada,probe,,perhaps,", "line 2: masked"),
        ("x.png,ada,probe,,,a door", "line 2: 'a door' is no name of a camera"),
        ("x.png,ada,probe,,,\nx.png,ada,reference,,,", "line 3: line 3 names the photo of line 2"),
        ("x.png,ada,reference,,,", "there are no probes"),
    ],
)
def test_a_fault_of_a_list_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    listed = tmp_path / "photos.csv"
    listed.write_text(f"path,subject,role,spectrum,masked,camera\n{line}\n")
    with pytest.raises(LabelError, match=said):
        read_labelled(listed)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ada/photos/1.jpg", "neither `references` nor `probes`"),
        ("ada/references/old/1.jpg", "references lie in"),
        ("ada/probes/door 1/1.jpg", "no name of a camera"),
        ("ada/probes/door/monday/1.jpg", "too deep"),
    ],
)
def test_a_fault_of_a_folder_is_named_with_its_place(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(LabelError, match=said):
        read_labelled(tree(tmp_path / "set", "zoe/references/1.jpg", "zoe/probes/1.jpg", name))


def test_an_unknown_column_is_an_error(tmp_path: Path) -> None:
    listed = tmp_path / "photos.csv"
    listed.write_text("path,subject,role,mask\nx.png,ada,probe,1\n")
    with pytest.raises(LabelError, match="mask"):
        read_labelled(listed)
