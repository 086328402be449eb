"""A real Chromium, and pages of the console in it that notice every error and every broken rule."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import SAMPLES, Service

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Only ends a wait that would never succeed.
WAIT_MS = 120_000
# A camera that shows a test picture, and is given without a question.
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
# Breaches of the Content-Security-Policy, kept where the tests read them.
WATCH = """
  window.__breaches = [];
  document.addEventListener("securitypolicyviolation", (event) =>
    window.__breaches.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. Skips where it or Playwright is missing.

    Of a file, not of the whole run: while Playwright runs, no other test of the process can run an event
    loop.
    """
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: it comes with the development lock"
    )
    place = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if place is None:
        pytest.skip("no Chromium: apt-get install chromium")
    # Chromium's sandbox does not start as root.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=place, args=[*FAKE_CAMERA, *sandbox])
        yield started
        started.close()


@dataclass
class Visit:
    """One page of a browser at a service, with what went wrong in it."""

    page: Page
    address: str
    errors: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)

    def leave(self) -> None:
        """Closes the page, so that nothing asks a service that a test then stops."""
        if not self.page.is_closed():
            self.breaches += self.page.evaluate("window.__breaches")
            self.page.context.close()

    def open(self, *parts: str) -> None:
        """Opens a page of the console by its address, and waits for its heading."""
        self.page.goto(f"{self.address}/#/{'/'.join(parts)}")
        self.page.wait_for_selector("h1")

    def give(self, *photos: str) -> None:
        """Chooses sample pictures, such as `s01/vis_1.jpg`, in the first field for pictures."""
        self.page.locator("input[type=file]").first.set_input_files([str(SAMPLES / each) for each in photos])

    def told(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location}")

    def failed(self, error: Exception) -> None:
        self.errors.append(str(error))

    def inaccessible(self) -> list[str]:
        """What axe calls serious or critical on the page as it is now."""
        self.page.evaluate(_axe())
        found: dict[str, Any] = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]


def _axe() -> str:
    pytest.importorskip("axe_playwright_python", reason="axe is not installed: see the development lock")
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


Visiting = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visiting]:
    """Returns a function that opens a browser's page at a service; afterwards nothing may have gone wrong."""
    opened: list[Visit] = []

    def start(service: Service | str, *, language: str = "en-GB", width: int = 1280, **options: Any) -> Visit:
        address = service if isinstance(service, str) else service.url
        context = browser.new_context(
            locale=language, viewport={"width": width, "height": 900}, permissions=["camera"], **options
        )
        context.set_default_timeout(WAIT_MS)
        context.add_init_script(WATCH)
        visited = Visit(context.new_page(), address)
        visited.page.on("pageerror", visited.failed)
        visited.page.on("console", visited.told)
        opened.append(visited)
        return visited

    yield start
    for visited in opened:
        visited.leave()
        assert visited.errors == []
        assert visited.breaches == []
