"""Mask state by exposure: the same near-infrared frames brighter and darker, bare and masked.

    python -m training detector trial TRIAL --lfw lfw.tar --count 358 --validation ...   (docs/detector.md)
    python -m benchmarks.exposure TRIAL --rendered SET --out exposure.json

TRIAL: pseudo-NIR frames of LFW validation people, with and without a drawn mask. SET: the folder of
`python -m training rendered-family`, whose frames as rendered are shown too. Frames become brighter or darker
as a camera makes them, clipped at 0 and 255, without sensor noise. The face is found, chosen and aligned as
the service does. "Before" reads the probability of a mask by its threshold alone, "now" as the service reads
it: a state is wrong if it is certain and false.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.enrolment import write_json
from faces.align import AlignError, align
from faces.bundle import Bundle, read
from faces.masks import MaskState, read_mask
from faces.types import Image, Pixels, Spectrum
from service.inference.quality import is_overexposed
from service.settings import builtin_bundle
from training.data.prepared import read_prepared
from training.detector.evaluate import load_image
from training.detector.pictures import Pictures
from training.detector.report import markdown_table
from training.networks.onnx_runner import DetectorRunner

Change = Callable[[Pixels], Pixels]


def brighter(levels: float) -> Change:
    return lambda pixels: np.clip(pixels.astype(np.float32) + levels, 0, 255).astype(np.uint8)


def times(factor: float) -> Change:
    return lambda pixels: np.clip(pixels.astype(np.float32) * factor + 0.5, 0, 255).astype(np.uint8)


STEPS: Mapping[str, Change] = {
    "as is": lambda pixels: pixels,
    "+ 40": brighter(40),
    "+ 70": brighter(70),
    "+ 100": brighter(100),
    "x 1.5": times(1.5),
    "x 2": times(2),
    "x 3": times(3),
    "x .5": times(0.5),
    "x .2": times(0.2),
    "x .1": times(0.1),
}


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of a kind of people, bare and masked."""

    people: str
    bare: tuple[Image, ...]
    masked: tuple[Image, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """Frames of one kind at one step: faces found, states false by the threshold alone, and as read now."""

    frames: int
    found: int
    false_before: int
    wrong: int
    uncertain: int


@dataclass(frozen=True, slots=True)
class Step:
    people: str
    step: str
    bare: Count
    masked: Count


@dataclass(frozen=True, slots=True)
class Exposure:
    bundle: str
    steps: tuple[Step, ...]

    def table(self) -> str:
        head = (
            *("people", "step", "faces found: bare, masked", "bare called masked, before", "now: wrong"),
            *("uncertain", "masked called bare, before", "now: wrong", "uncertain"),
        )
        rows = [
            (
                *(one.people, one.step),
                f"{one.bare.found} of {one.bare.frames}, {one.masked.found} of {one.masked.frames}",
                *(str(value) for value in (one.bare.false_before, one.bare.wrong, one.bare.uncertain)),
                *(str(value) for value in (one.masked.false_before, one.masked.wrong, one.masked.uncertain)),
            )
            for one in self.steps
        ]
        return markdown_table(head, rows)


def count(runner: DetectorRunner, bundle: Bundle, frames: Sequence[Image], *, masked: bool) -> Count:
    """Reads the mask state of the face that each frame is about."""
    spec, alignment = bundle.manifest.mask, bundle.manifest.encoder.alignment
    found = before = wrong = uncertain = 0
    for image in frames:
        faces = runner.faces(image)
        if not faces:
            continue
        face = max(faces, key=lambda one: one.weight)
        try:
            crop = align(image, face, alignment)
        except AlignError:
            continue
        if face.masked is None:
            raise ValueError(f"the detector of {bundle.manifest.name} does not tell masks")
        reading = read_mask(
            face.masked, threshold=spec.threshold, band=spec.uncertain, overexposed=is_overexposed(crop)
        )
        false = reading.masked != masked
        found += 1
        before += false
        uncertain += reading.state is MaskState.UNCERTAIN
        wrong += false and reading.state is not MaskState.UNCERTAIN
    return Count(len(frames), found, before, wrong, uncertain)


def measure(bundle: Bundle, every: Sequence[Frames]) -> Exposure:
    """Shows all frames at every step."""
    spec = bundle.manifest.detector
    runner = DetectorRunner(bundle.path(spec.file), spec)
    steps, asked = [], [(frames, step) for frames in every for step in STEPS]
    for frames, step in track(asked, "exposure", console=Console(stderr=True), transient=True):
        bare, masked = (
            [Image(STEPS[step](image.pixels), Spectrum.NIR) for image in images]
            for images in (frames.bare, frames.masked)
        )
        steps.append(
            Step(
                frames.people,
                step,
                count(runner, bundle, bare, masked=False),
                count(runner, bundle, masked, masked=True),
            )
        )
    return Exposure(bundle.manifest.name, tuple(steps))


def trial_frames(folder: Path, people: int) -> Frames:
    """The first frames of people who have both kinds. Raises DataSetError."""
    pictures = Pictures(folder)
    found: dict[str, dict[str, int]] = {}
    for i, entry in enumerate(pictures):
        if entry.kind in ("nir", "nir-drawn"):
            found.setdefault(entry.source.split(" ")[0], {})[entry.kind] = i
    both = [one for one in found.values() if len(one) == 2][:people]
    bare, masked = (tuple(load_image(pictures, one[kind]) for one in both) for kind in ("nir", "nir-drawn"))
    return Frames("pseudo-NIR", bare, masked)


def rendered_frames(folder: Path, people: int) -> Frames:
    """The first bare and the first masked frame of each person. Raises DataSetError."""
    prepared, found = read_prepared(folder), {False: dict[str, Path](), True: dict[str, Path]()}
    for row in prepared.rows:
        if row.spectrum is Spectrum.NIR:
            found[row.masked].setdefault(row.subject, folder / row.source)
    bare, masked = (
        tuple(_read(path) for path in list(found[state].values())[:people]) for state in (False, True)
    )
    return Frames("rendered", bare, masked)


def _read(path: Path) -> Image:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise OSError(f"{path.name} cannot be read")
    return Image(np.asarray(pixels, np.uint8), Spectrum.NIR)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("trial", type=Path, help="what `training detector trial --validation` made")
    parser.add_argument("--rendered", type=Path, help="what `training rendered-family` made")
    parser.add_argument("--bundle", type=Path, default=builtin_bundle())
    parser.add_argument("--people", type=int, default=90)
    parser.add_argument("--rendered-people", type=int, default=50)
    parser.add_argument("--out", type=Path, help="a file for the figures (.json)")
    args = parser.parse_args(words)
    cv2.setNumThreads(1)
    every = [trial_frames(args.trial, args.people)]
    if args.rendered is not None:
        every.append(rendered_frames(args.rendered, args.rendered_people))
    found = measure(read(args.bundle), every)
    write_json(args.out, "python -m benchmarks.exposure TRIAL --rendered SET", found)
    print(found.table(), end="")


if __name__ == "__main__":
    main()
