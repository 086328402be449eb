"""`python -m training.synthesis.rendered --out DIR --facekit DIR`: make the synthetic sample set."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.progress import Progress

from training.synthesis.rendered import samples
from training.synthesis.rendered.model import FaceKitError, load_model


def main(arguments: list[str] | None = None) -> int:
    """Render the set; exit status 2 where the model is missing."""
    parser = argparse.ArgumentParser(prog="python -m training.synthesis.rendered", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--facekit", type=Path, required=True, help="the ICT FaceKit folder")
    parser.add_argument("--subjects", type=int, default=14, help="how many, the last 2 strangers")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--size", type=int, default=320, help="side of a picture in pixels")
    options = parser.parse_args(arguments)
    if options.subjects <= samples.IMPOSTORS or options.size < 64:
        parser.error("at least 3 subjects and 64 pixels are needed")
    try:
        model = load_model(options.facekit)
    except FaceKitError as problem:
        parser.error(str(problem))
    with Progress() as progress:
        task = progress.add_task("rendering", total=len(samples.plan(options.subjects)))
        for _ in samples.write(
            options.out, model, subjects=options.subjects, seed=options.seed, size_px=options.size
        ):
            progress.advance(task)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
