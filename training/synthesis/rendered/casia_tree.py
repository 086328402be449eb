"""Rendered subjects on the disk as CASIA NIR-VIS 2.0 is: the paper's regime for those who lack its data.

Half of the subjects train and half test in each of the ten folds of view 2, as in the real protocol (357 and
358 subjects); the gallery has one VIS picture of each test subject.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from training.data.casia import FOLDS
from training.data.generated import Generated, write_generated
from training.data.records import DataSetError
from training.synthesis.rendered.model import FaceModel
from training.synthesis.rendered.pictures import GENERATOR, Job, Views, plan, read_facts, render_jobs

RENDERED, SESSION, PROTOCOLS = "rendered", "s1", "protocols"
SYNTHETIC = "3D-rendered faces of the ICT FaceKit model in CASIA's layout, no real person"
OnSubject = Callable[[int, int], None]


def write_casia_tree(
    root: Path,
    model: FaceModel,
    *,
    subjects: int,
    vis: int,
    nir: int,
    seed: int,
    size_px: int,
    workers: int = 1,
    on_subject: OnSubject | None = None,
) -> None:
    """Renders what is missing below `root/rendered`, and names it as CASIA does; resumable.

    `vis`, `nir`: pictures of each subject, all without masks, which `prepare` puts on. `on_subject` takes the
    subjects done and all. Raises DataSetError for fewer than two subjects or no picture of a spectrum.
    """
    if subjects < 2 or min(vis, nir) < 1:
        raise DataSetError("the tree needs two subjects or more, with pictures in both spectra")
    views = Views(vis=vis, nir=nir, nir_masked=0)
    jobs = plan(root / RENDERED, model, subjects=subjects, views=views, seed=seed, size_px=size_px)
    missing = [job for job in jobs if read_facts(job) is None]
    finished = len(jobs) - len(missing)
    for count, _ in enumerate(render_jobs(missing, model, workers=workers), finished + 1):
        if on_subject is not None:
            on_subject(count, len(jobs))
    write_generated(root, Generated(generator=GENERATOR, synthetic=SYNTHETIC))
    names = [_name(root, number, job) for number, job in enumerate(jobs, 1)]
    for fold in range(1, FOLDS + 1):
        _write_fold(root / PROTOCOLS, names, fold, seed=seed)


def _name(root: Path, number: int, job: Job) -> tuple[list[str], list[str]]:
    """Links a subject's pictures into CASIA's folders; returns the protocol's lines, VIS and NIR."""
    lines: tuple[list[str], list[str]] = ([], [])
    for name, view in job.views:
        spectrum = "VIS" if name.startswith("vis") else "NIR"
        own = lines[spectrum == "NIR"]
        file = f"{len(own) + 1:03d}.jpg"
        folder = root / SESSION / spectrum / f"{number:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / file
        target.unlink(missing_ok=True)
        os.link(job.folder / name, target)
        own.append(f"{SESSION}\\{spectrum}\\{number:05d}\\{file}")
        assert view.spectrum.name == spectrum  # noqa: S101 - the names of `plan`
    return lines


def _write_fold(lists: Path, names: Sequence[tuple[list[str], list[str]]], fold: int, *, seed: int) -> None:
    order = np.random.default_rng([seed, fold]).permutation(len(names))
    train, test = np.sort(order[: len(names) // 2]), np.sort(order[len(names) // 2 :])
    content = {
        "vis_train": [line for i in train for line in names[i][0]],
        "nir_train": [line for i in train for line in names[i][1]],
        "vis_gallery": [names[i][0][0] for i in test],
        "nir_probe": [line for i in test for line in names[i][1]],
    }
    lists.mkdir(exist_ok=True)
    for stem, lines in content.items():
        # As the real lists are: backslashes, and the line ends of Windows.
        (lists / f"{stem}_{fold}.txt").write_bytes("".join(f"{line}\r\n" for line in lines).encode())
