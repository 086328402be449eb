"""What the pages for contributors name is there: files, rooms, layers, classes, sections, pinned actions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPO

PAGES = (
    *(REPO / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "docs/hsst.md")),
    *sorted((REPO / "docs" / "decisions").glob("*.md")),
)
TOP = "faces|service|training|export|benchmarks|tests|docs|deploy|models|requirements"
# Not within a URL or a longer path.
PLACE = re.compile(rf"(?<![\w./-])(?:{TOP})/[\w./-]*")
ROOM = re.compile(r"^- (`.+?`):", re.M)
CITED = re.compile(r"docs/hsst\.md, (?:section )?(\d+(?:\.\d+)?)")
SECTION = re.compile(r"^###? (\d+(?:\.\d+)?)\.? ", re.M)
NAME = re.compile(r"`([A-Z]\w*[a-z]\w*)(?:\.\w+)?`")
DEFINED = re.compile(r"^(?:class )?([A-Z]\w+)\s*[(:=\[]", re.M)
HEADERS = {"Host", "Origin"}
ACTION = re.compile(r"uses: (\S+)(?: # (\S+))?$", re.M)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def rooms_named(package: str) -> list[str]:
    """Rooms in the list behind "`package/`" in ARCHITECTURE.md, in its order, as file or folder names."""
    rest = text_of(REPO / "ARCHITECTURE.md").split(f"\n`{package}/`", 1)[1]
    listed = re.search(r"\n\n((?:- .*\n(?:  .*\n)*)+)", rest)
    assert listed is not None
    return [
        name.strip("/") for line in ROOM.findall(listed.group(1)) for name in re.findall(r"`(.+?)`", line)
    ]


def rooms_there(package: str) -> set[str]:
    """Sub-packages and modules of a package, without what only makes it one."""
    root = REPO / package
    folders = {path.parent.name for path in root.glob("*/__init__.py")}
    return folders | {path.name for path in root.glob("*.py") if not path.name.startswith("__")}


def layers() -> list[set[str]]:
    """The layers of `service` that import-linter enforces, from the top down."""
    contracts = tomllib.loads(text_of(REPO / "pyproject.toml"))["tool"]["importlinter"]["contracts"]
    (found,) = (one["layers"] for one in contracts if one.get("containers") == ["service"])
    return [set(re.split(r"\s*[|:]\s*", layer)) for layer in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_every_path_of_a_page_exists(page: Path) -> None:
    missing = [place for place in PLACE.findall(text_of(page)) if not (REPO / place.rstrip(".")).exists()]
    assert not missing


@pytest.mark.parametrize("package", ["service", "training"])
def test_the_architecture_page_names_every_room(package: str) -> None:
    named = rooms_named(package)
    assert len(named) == len(set(named))
    assert rooms_there(package) <= set(named)
    assert all((REPO / package / name).exists() for name in named)


def test_the_architecture_page_lists_rooms_of_the_service_from_the_top_down() -> None:
    floor = {room: number for number, layer in enumerate(layers()) for room in layer}
    floors = [floor[name.removesuffix(".py")] for name in rooms_named("service")]
    assert floors == sorted(floors)


def test_every_class_that_the_pages_name_is_defined() -> None:
    packages = (REPO / name for name in ("faces", "service", "training", "export"))
    defined = {
        name
        for package in packages
        for path in package.rglob("*.py")
        for name in DEFINED.findall(text_of(path))
    }
    for page in PAGES:
        assert set(NAME.findall(text_of(page))) <= defined | HEADERS, page.name


def test_every_name_that_the_page_on_hsst_places_is_defined_there() -> None:
    rows = re.findall(r"^\| .+? \| (`training/.+) \|$", text_of(REPO / "docs" / "hsst.md"), re.M)
    assert len(rows) >= 10
    for row in rows:
        files = [REPO / place for place in PLACE.findall(row)]
        code = "".join(text_of(path) for path in files if path.suffix == ".py")
        for name in re.findall(r"`(\w+)`", row):
            assert re.search(rf"^(?:class|def) {name}\b", code, re.M), f"{name} is not in {row}"


def test_every_section_that_the_code_cites_exists() -> None:
    sections = set(SECTION.findall(text_of(REPO / "docs" / "hsst.md")))
    for package in ("training", "export", "tests"):
        for path in (REPO / package).rglob("*"):
            if path.suffix in (".py", ".toml"):
                joined = re.sub(r"\s*\n[ \t]*(?:# )?", " ", text_of(path))
                assert set(CITED.findall(joined)) <= sections, path.name


def test_workflows_pin_their_actions_and_run_what_contributors_run() -> None:
    workflow = text_of(REPO / ".github" / "workflows" / "ci.yml")
    for action, release in ACTION.findall(workflow):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r"v\d+(\.\d+)*", release), action
    assert "run: .ci/run" in workflow
    assert "permissions:\n  contents: read\n" in workflow
