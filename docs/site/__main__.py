"""`python -m docs.site`: gathers the pages and builds the site; a broken link, anchor or page ends it.

    python -m docs.site --to build/site
    python -m docs.site --serve 8080

It writes two folders beside each other, the site and `pages`, from which the site was built. The exit code is
that of the builder, which names each fault. With `--serve` the built site stands on loopback until Ctrl-C.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import subprocess
import sys
from pathlib import Path

from docs.site.gather import REPO, gather
from docs.site.search import write_search


def build(site: Path) -> int:
    """Builds the site anew into the folder `site`; returns 0, or the builder's exit code."""
    gathered = site.parent / "pages"
    gather(gathered)
    command = [sys.executable, "-m", "properdocs", "build", "--strict", "--clean"]
    command += ["--config-file", str(gathered / "properdocs.yml"), "--site-dir", str(site.resolve())]
    done = subprocess.run(command, cwd=REPO)
    if done.returncode == 0:
        write_search(site)
    return done.returncode


def serve(site: Path, port: int) -> None:
    """Shows the built site on loopback until Ctrl-C."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.site", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--to", type=Path, default=REPO / "build" / "site", help="folder of the site")
    parser.add_argument("--serve", type=int, metavar="PORT", help="then show it; 0 takes a free port")
    options = parser.parse_args()
    if code := build(options.to):
        return code
    print(f"site: {options.to / 'index.html'}")
    if options.serve is not None:
        serve(options.to, options.serve)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
