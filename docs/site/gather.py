"""Gathers every page of the site into one folder: `docs/`, documents that it links to, and the reference."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from docs.site.api_pages import api_pages
from docs.site.commands_page import commands_page
from docs.site.formulas import with_math
from docs.site.settings_page import TABLE, settings_page

HERE = Path(__file__).resolve().parent
DOCS, REPO = HERE.parent, HERE.parent.parent
# Documents outside `docs/` that pages link to, and where they stand on the site.
OUTSIDE = {
    "README.md": "project/readme.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "ARCHITECTURE.md": "project/architecture.md",
    "SECURITY.md": "project/security.md",
    "models/README.md": "project/models.md",
    "deploy/README.md": "project/deploy.md",
    "deploy/helm/halflight/README.md": "project/helm.md",
    "NOTICE": "project/notice.txt",
    "LICENSE": "project/licence.txt",
}
REFERENCE = "reference/settings.md"
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)]*)?\))")
CODE = re.compile(r"(^```.*?^```\s*$|^~~~.*?^~~~\s*$|`(?:[^`\n]|\n(?!\n))+`)", re.M | re.S)


def gather(to: Path) -> None:
    """Writes the pages, the theme and the builder's configuration below `to`, which is made anew.

    Raises ValueError if a page links to a file that is not on the site.
    """
    shutil.rmtree(to, ignore_errors=True)
    pages = to / "pages"
    shutil.copytree(HERE / "theme", to / "theme")
    shutil.copyfile(HERE / "properdocs.yml", to / "properdocs.yml")
    for source, place in _sources().items():
        target = pages / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            target.write_text(_page(source, place), encoding="utf-8")
        else:
            shutil.copyfile(source, target)
    made = {REFERENCE: settings_page((DOCS / "operating.md").read_text(encoding="utf-8"))}
    made |= {"reference/commands.md": commands_page()} | api_pages("reference/http")
    for place, text in made.items():
        target = pages / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def _sources() -> dict[Path, str]:
    """Maps every file that is copied to its place on the site."""
    pages = [path for path in sorted(DOCS.rglob("*")) if path.is_file() and HERE not in path.parents]
    found = {path: path.relative_to(DOCS).as_posix() for path in pages}
    return found | {REPO / name: place for name, place in OUTSIDE.items()}


def _page(source: Path, place: str) -> str:
    """A page as the site shows it: links lead to where things stand there, and formulas are MathML."""
    parts = CODE.split(source.read_text(encoding="utf-8"))
    parts[::2] = [_links(part, source, place) for part in parts[::2]]
    text = "".join(parts)
    if source == DOCS / "operating.md":
        text = TABLE.sub(f"[All settings]({REFERENCE}), with their types and limits.\n", text)
    return with_math(text)


def _links(text: str, source: Path, place: str) -> str:
    sources = _sources()

    def moved(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        if ":" in target:
            return match.group(0)
        leads_to = (source.parent / target).resolve()
        if leads_to.is_dir():
            leads_to /= "README.md"
        if leads_to not in sources:
            raise ValueError(f"{source.relative_to(REPO)} links to {target}, which is not on the site")
        return f"{before}{_relative(sources[leads_to], place)}{after}"

    return LINK.sub(moved, text)


def _relative(target: str, page: str) -> str:
    """The way from the folder of `page` to `target`; both are places on the site."""
    up = len(Path(page).parent.parts)
    return "../" * up + target
