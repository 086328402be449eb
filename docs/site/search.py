"""The index of the site's search: a script, so that pages that are opened as files find it too."""

from __future__ import annotations

import json
from pathlib import Path


def write_search(site: Path) -> None:
    """Turns what the builder found on each page into `search/index.js`; the builder's own search goes."""
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    entries = [[one["location"], one["title"], one["text"]] for one in found]
    for path in (site / "search").iterdir():
        path.unlink()
    script = f"window.halflightPages = {json.dumps(entries, ensure_ascii=False)};\n"
    (site / "search" / "index.js").write_text(script, encoding="utf-8")
