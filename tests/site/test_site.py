"""The site has every page, nothing broken, all that the code says of itself, and needs no other host."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from docs.site.formulas import with_math
from service.app import create_app
from service.settings import Settings
from tests.conftest import REPO
from tests.service.console.conftest import Visiting, browser, visit
from tests.site.conftest import build
from tests.test_documents import commands_there

__all__ = ["browser", "visit"]
# What a browser fetches by itself, or runs; a link that somebody clicks is neither.
LOADS = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
    "use": "href",
    "image": "href",
}


class Page(HTMLParser):
    """What a page loads, where it leads, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADS and given.get(LOADS[tag]):
            self.loads.append(str(given[LOADS[tag]]))
        self.loads += [part.split()[0] for part in (given.get("srcset") or "").split(",") if part.strip()]
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        self.anchors |= {str(given[name]) for name in ("id", "name") if given.get(name)}


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_page_of_the_folder_is_on_the_site(site: Path) -> None:
    for source in (REPO / "docs").rglob("*.md"):
        name = source.relative_to(REPO / "docs").with_suffix(".html")
        place = name.with_name("index.html") if name.name == "README.html" else name
        assert (site / place).is_file(), place


def test_no_page_loads_anything_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for loaded in page.loads:
            assert not re.match(r"(\w+:)?//|\w+:", loaded), (path.name, loaded)
            assert (path.parent / unquote(loaded.split("?")[0])).is_file(), (path.name, loaded)
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"url\(|@import", sheet.read_text(encoding="utf-8")), sheet.name
    for drawing in site.rglob("*.svg"):
        text = drawing.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[^\"'\s>]+", text)) <= {"http://www.w3.org/2000/svg"}, drawing.name
    assert "://" not in (site / "assets" / "site.js").read_text(encoding="utf-8")


def test_every_link_leads_to_a_page_and_its_anchor(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"\w+:", link):
                assert not link.startswith("file:"), (path.name, link)
                continue
            target, _, anchor = unquote(link).partition("#")
            place = (path.parent / target).resolve() if target else path
            assert place.is_file(), (path.name, link)
            assert place.is_relative_to(site.resolve())
            if anchor and place in pages:
                assert anchor in pages[place].anchors, (path.name, link)


def test_nothing_of_markdown_is_left_as_text(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for paragraph in re.findall(r"<p>(.*?)</p>", text, re.S):
            # A list or a table that the builder took for prose, which GitHub shows as it was meant.
            assert not re.search(r"\n(- |\* |\d+\. |\|)|^(- |\|)", paragraph), (path.name, paragraph[:200])
        outside = re.sub(r"<(pre|code|script)\b.*?</\1>", "", text, flags=re.S)
        assert "```" not in outside, path.name
        assert not re.search(r"\]\([^)]*\)", outside), path.name


@pytest.mark.slow
def test_a_broken_anchor_fails_the_build(builder: None, tmp_path: Path) -> None:
    copy = tmp_path / "repo"
    names = ("docs", "service", "faces", "models", "deploy")
    for name in names:
        shutil.copytree(REPO / name, copy / name, ignore=shutil.ignore_patterns("node_modules", "*.onnx"))
    for path in REPO.glob("*"):
        if path.is_file():
            shutil.copyfile(path, copy / path.name)
    page = copy / "docs" / "index.md"
    page.write_text(
        page.read_text(encoding="utf-8") + "\n[there](operating.md#not-there)\n", encoding="utf-8"
    )
    done = build(tmp_path / "site", copy)
    assert done.returncode != 0
    assert "#not-there" in done.stdout + done.stderr
    page.write_text("[nothing](nothing.md)\n", encoding="utf-8")
    done = build(tmp_path / "site", copy)
    assert done.returncode != 0
    assert "nothing.md" in done.stderr


def test_the_reference_names_every_setting_command_and_request(site: Path) -> None:
    settings = (site / "reference" / "settings.html").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"<code>HALFLIGHT_{name.upper()}</code>" in settings
    assert "whole number, at least 0, at most 65,535" in settings
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    there = list(commands_there())
    assert len(there) >= 40
    for path, options in there:
        section = commands.split(f">{path}</h2>", 1)[1].split("<h2", 1)[0]
        for option in options - {"--help"}:
            assert f"<code>{option}</code>" in section, (path, option)
    document = json.loads((site / "reference" / "http" / "openapi.json").read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(create_app(Settings()).openapi()))
    parts = "".join(path.read_text(encoding="utf-8") for path in (site / "reference" / "http").glob("*.html"))
    for path, operations in document["paths"].items():
        for method in operations:
            assert f">{method.upper()} {path}</h2>" in parts
    for name in document["components"]["schemas"]:
        assert f'id="{name.lower()}"' in parts


def test_formulas_become_mathml_and_code_stays() -> None:
    page = "Of $K \\times d$ rows, `$HOME` stays.\n\n```math\n\\frac{a}{b}\n```\n\n```\necho $A $B\n```\n"
    made = with_math(page)
    assert made.count("<math") == 2
    assert "<mfrac>" in made
    assert "`$HOME` stays" in made
    assert "echo $A $B" in made
    # Code may go on in the next line; what follows it is none.
    wrapped = "`of\n$A` and $b$\n\n```math\nx\n```\n"
    assert with_math(wrapped).startswith("`of\n$A` and <span><math")
    assert with_math("no formula: $A and $B") == "no formula: $A and $B"


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The site on a server on loopback."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing_serious_and_pages_fit_a_narrow_screen(
    address: str, visit: Visiting, look: str
) -> None:
    visited = visit(address, color_scheme=look, width=360)
    page = visited.page
    for name in ("index", "hsst", "reference/settings", "how-to/from-compreface", "explanation/hsst"):
        page.goto(f"{address}/{name}.html")
        page.wait_for_load_state("load")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
        assert visited.inaccessible() == [], name


@pytest.mark.slow
def test_a_browser_shows_and_searches_the_site_from_its_folder(site: Path, visit: Visiting) -> None:
    page = visit(site.as_uri()).page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{site.as_uri()}/explanation/hsst.html")
    page.wait_for_load_state("load")
    assert page.evaluate("document.querySelector('main img').naturalWidth") > 0
    page.get_by_label("Search").fill("legal hold")
    page.locator("#found a").first.wait_for()
    page.get_by_label("Search").press("Enter")
    page.get_by_role("heading", name="Legal hold, consent, and an end").wait_for()
    assert len(asked) > 5
    assert all(url.startswith("file:") for url in asked), asked
