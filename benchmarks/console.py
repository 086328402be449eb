"""Takes the screenshots of the console that README and docs show, of rendered sample people only.

Needs Chromium and Playwright (the development lock): `python -m benchmarks.console --to docs`.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from PIL import Image

from service.cli.samples import load_samples

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = {
    "s01": "Anna Müller",
    "s02": "Bert Okafor",
    "s03": "Chiara Rossi",
    "s04": "Deniz Kaya",
    "s05": "Elif Şahin",
    "s06": "Finn Jansen",
}
CAMERAS = ("gate-1", "gate-2", "night-entrance")
WIDTH_PX, HEIGHT_PX = 1280, 800
WAIT_MS = 180_000
WEBP_QUALITY = 86


@contextmanager
def running_service() -> Iterator[str]:
    """A service with empty data, and its address."""
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "service.cli.main", "serve", "--port", "0", "--data", data]
        with subprocess.Popen(
            command,
            env=os.environ | {"HALFLIGHT_KEEP_PROBES_HOURS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            try:
                yield next(
                    word for line in process.stdout for word in line.split() if word.startswith("http://")
                )
            finally:
                process.terminate()


def fill(address: str) -> None:
    """Enrols the named samples, and lets cameras see them and two strangers."""
    subjects = {each.subject_id: each for each in load_samples()}
    with httpx.Client(base_url=f"{address.rstrip('/')}/v1", timeout=300) as client:
        for subject_id, name in NAMES.items():
            client.post(
                "/enroll",
                data={"subject_id": subject_id, "display_name": name, "duplicates": "ignore"},
                files=[("images", photo.read_bytes()) for photo in subjects[subject_id].vis],
            ).raise_for_status()
        one, another = (each.subject_id for each in subjects.values() if not each.enrol)
        seen = ["s03", one, "s04", "s05", another, "s06", "s01", "s02"]
        for number, subject_id in enumerate(seen):
            client.post(
                "/identify",
                params={"camera": CAMERAS[number % len(CAMERAS)]},
                content=subjects[subject_id].nir_masked[0].read_bytes(),
                headers={"content-type": "image/jpeg"},
            ).raise_for_status()


def keep(page: Page, to: Path) -> None:
    """Writes what the page shows as WebP."""
    with Image.open(io.BytesIO(page.screenshot())) as taken:
        taken.save(to, "WEBP", quality=WEBP_QUALITY, method=6)
    print(f"{to}: {to.stat().st_size / 1024:.0f} KiB")


def chromium() -> str:
    place = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if place is None:
        raise SystemExit("no Chromium: apt-get install chromium")
    return place


def take(address: str, to: Path) -> None:
    from playwright.sync_api import sync_playwright

    probe = load_samples()[0].nir_masked[0]
    with sync_playwright() as playwright:
        # Chromium's sandbox does not start as root.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=chromium(), args=sandbox)
        context = browser.new_context(
            viewport={"width": WIDTH_PX, "height": HEIGHT_PX}, color_scheme="light", locale="en-GB"
        )
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.goto(f"{address.rstrip('/')}/#/live")
        page.locator(".event").nth(6).wait_for()
        page.locator(".event canvas, .event img").nth(6).wait_for()
        keep(page, to / "console-live.webp")
        page.goto(f"{address.rstrip('/')}/#/identify")
        page.locator("input[type=file]").set_input_files(probe)
        page.locator(".candidates li").first.wait_for()
        keep(page, to / "console-identify.webp")
        page.goto(f"{address.rstrip('/')}/#/subjects")
        page.get_by_text("Anna Müller").wait_for()
        keep(page, to / "console-subjects.webp")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=Path("docs"), help="a folder for the pictures")
    to: Path = parser.parse_args().to
    to.mkdir(parents=True, exist_ok=True)
    with running_service() as address:
        fill(address)
        take(address, to)


if __name__ == "__main__":
    main()
