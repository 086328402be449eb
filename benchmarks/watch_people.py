"""Renders the people of the watched clip, and others who set its thresholds.

    python -m benchmarks.watch_people OUT --facekit ../shared/data/ict_facekit

Writes OUT/clip, 26 people for `benchmarks.watch`, and OUT/site, 130 others laid out for `halflight evaluate`:
for each person a visible and a near-infrared masked reference, and two frames of a walk through the picture
of the clip's camera. A person has three visible and three masked near-infrared views; the third of these was
taken by the camera to enrol, and does not walk. The same command goes on after an interruption.
**Nobody exists.**
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import cv2

from tests.service.watch.clip import FPS, LEAD_S, Walker, frames
from training.synthesis.rendered.model import FaceModel, load_model
from training.synthesis.rendered.pictures import Job, Views, plan, read_facts, render_jobs

VIEWS, SIZE_PX = Views(vis=3, nir=0, nir_masked=3), 320
# Thresholds at FMR 1e-3 take more than a hundred people who resemble each other so.
CLIP_SEED, SITE_SEEDS, PEOPLE = 12, (21, 22, 23, 24, 25), 26
REFERENCES = ("vis_1.jpg", "nir_masked_3.jpg")
CAMERA, SECONDS = "gate", 2.0
# One frame of either view.
SHARES = (0.25, 0.75)


def rendered(root: Path, model: FaceModel, *, seed: int, workers: int) -> list[Job]:
    """The pictures of a group, rendered as far as they are missing."""
    jobs = plan(root, model, subjects=PEOPLE, views=VIEWS, seed=seed, size_px=SIZE_PX)
    for _ in render_jobs([job for job in jobs if read_facts(job) is None], model, workers=workers):
        print(".", end="", file=sys.stderr, flush=True)
    return jobs


def lay_out(job: Job, number: int, to: Path) -> None:
    """The folder of one person that `halflight evaluate` takes."""
    references, probes = to / "references", to / "probes" / CAMERA
    for place in (references, probes):
        place.mkdir(parents=True, exist_ok=True)
    for name in REFERENCES:
        shutil.copyfile(job.folder / name, references / name)
    pictures = tuple(job.folder / f"nir_masked_{view}.jpg" for view in (1, 2))
    walker = Walker(job.folder.name, pictures, number % 2 == 0)
    walk = list(frames([walker], seconds=SECONDS, pause_s=0, seed=number))[int(LEAD_S * FPS) :]
    for view, share in enumerate(SHARES, 1):
        taken = cv2.imencode(".jpg", walk[int(share * len(walk))], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        (probes / f"{view}.jpg").write_bytes(taken.tobytes())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--facekit", type=Path, required=True, help="the ICT FaceKit folder")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    model = load_model(given.facekit)
    rendered(given.out / "clip", model, seed=CLIP_SEED, workers=given.workers)
    number = 0
    for seed in SITE_SEEDS:
        for job in rendered(given.out / "pictures", model, seed=seed, workers=given.workers):
            lay_out(job, number, given.out / "site" / job.folder.name)
            number += 1


if __name__ == "__main__":
    main()
