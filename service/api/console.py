"""Serves the built front end of the console: the page at `/`, its files below `/assets`.

The page holds no data and is open; whatever it shows, it asks for over the API, with the key of whoever
signs in. Its own pages are fragments (`#/live`), so every other path stays the API's.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from service.api.prefix import VERSION
from service.evaluation.page import STYLE

DIST = Path(__file__).resolve().parent.parent / "console" / "dist"
PAGE = "index.html"
# The report of an evaluation is fetched with the key and opened from the browser's memory, where this policy
# holds as well: it lets this one style sheet in, by its digest.
REPORT_STYLE = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# Nothing from another host, nothing inline but that, nobody's frame. `blob:` shows pictures that scripts have
# made or fetched with the key, which an `img` cannot send.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        f"style-src 'self' 'sha256-{REPORT_STYLE}'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
}
# The build puts a digest of the content into the name of each asset.
ASSET_HEADERS = PAGE_HEADERS | {"cache-control": "public, max-age=31536000, immutable"}
# Kept, but asked about each time: it names the assets of the release that runs.
INDEX_HEADERS = PAGE_HEADERS | {"cache-control": "no-cache"}


def install_console(app: FastAPI) -> None:
    """Adds the routes of the console, which answer GET and HEAD."""
    pages, assets = StaticFiles(directory=DIST), StaticFiles(directory=DIST / "assets")

    async def answer(files: StaticFiles, name: str, request: Request, headers: Mapping[str, str]) -> Response:
        """A file, or 304 where the browser has it. Raises HTTPException if there is none."""
        try:
            found = await files.get_response(name, request.scope)
        except (ValueError, OSError) as error:
            raise HTTPException(404) from error  # no name that a file can have
        found.headers.update(headers)
        return found

    async def page(request: Request) -> Response:
        root = request.scope.get("root_path", "").removesuffix(VERSION)
        asked: bytes = request.scope.get("raw_path") or b"/"
        if request.scope.get("root_path", "") != root or not asked.endswith(b"/"):
            # Relative links lead to the assets and the API only from here.
            return RedirectResponse(f"{root}/")
        return await answer(pages, PAGE, request, INDEX_HEADERS)

    async def asset(request: Request) -> Response:
        return await answer(assets, request.path_params["name"], request, ASSET_HEADERS)

    # Starlette's own routes answer HEAD as well.
    app.add_route("/", page, methods=["GET"], include_in_schema=False)
    app.add_route("/assets/{name:path}", asset, methods=["GET"], include_in_schema=False)
