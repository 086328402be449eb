"""Measures each ratio that the project aims at, both sides in one run; writes them as JSON and as tables.

    python -m benchmarks.ratios [--parts gallery,starts] [--size full|toy] [--dir DIR]

`make bench` runs this, `make bench PARTS=gallery,starts` some parts. Each part runs in a process of its own,
and replaces what the file and the page said of it; parts that did not run stay as they are, with their date.
`--dir` needs 10 GB for a million templates, and keeps the database of the starts for the next run.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.ratios.figures import read_parts, write_parts, write_tables
from benchmarks.ratios.parts import PARTS, Size, measured

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
SIZES = {"full": (1_000_000, 3, 100), "toy": (2000, 1, 12)}


def _names(given: str) -> list[str]:
    names = [name.strip() for name in given.split(",") if name.strip()]
    if unknown := sorted(set(names) - set(PARTS)):
        raise argparse.ArgumentTypeError(f"no part {unknown[0]}; parts: {', '.join(PARTS)}")
    return names or list(PARTS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ratios", description=__doc__.split("\n")[0])
    parser.add_argument("--parts", type=_names, default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()) / "halflight-bench")
    parser.add_argument("--json", type=Path, default=DOCS / "performance.json")
    parser.add_argument("--page", type=Path, default=DOCS / "performance.md")
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    size = Size(args.size, *SIZES[args.size], dir=args.dir / args.size)
    size.dir.mkdir(exist_ok=True)
    parts = read_parts(args.json)
    for name in args.parts:
        # A new process: what one part leaves in memory must not count for the next.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            parts[name] = alone.submit(measured, name, size).result()
        print(parts[name].table())
        ordered = [parts[one] for one in PARTS if one in parts]
        write_parts(ordered, args.json)
        write_tables(ordered, args.page)
    missed = [f"{name}: {one.what}" for name in args.parts for one in parts[name].figures if one.met is False]
    for one in missed:
        print(f"missed: {one}", file=sys.stderr)


if __name__ == "__main__":
    main()
