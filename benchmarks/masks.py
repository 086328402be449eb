"""Masks per second on one core beside a bare warp of the same area and the 2D baseline.

    python -m benchmarks.masks --photos FOLDER [--templates FOLDER] [--sizes 112 224] [--rounds 30]

Every way masks the same face in turn within each round, so compare down a column. Times are the
thread's own CPU time (wall time is printed beside it: on a busy machine it is longer), OpenCV and
ONNX Runtime on one thread. `new design` paints the mask each time, `same design` finds it painted,
`with fit` adds the network that fits the mesh. The floor is what any warp must do: one remap of
four float channels and one blend over the mask's window, with the bytes it reads and writes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from faces.align import ALIGNMENTS, similarity
from faces.bundle import read
from faces.image import DecodeLimits, decode
from faces.types import Face, Image, Point
from training.networks.onnx_runner import BundleRunner
from training.synthesis.assets import CHECKOUT, find_assets
from training.synthesis.masks.designs import MaskDesign
from training.synthesis.masks.draw_design import draw_design
from training.synthesis.masks.landmarks import apply_flat_mask
from training.synthesis.masks.painter import MaskPainter
from training.synthesis.masks.raster import blend
from training.synthesis.masks.templates import TemplateSet, load_templates
from training.synthesis.mesh import FaceMesh, MeshFitter, load_topology
from training.synthesis.simple import to_linear
from training.views.masked_pictures import SUFFIXES, TEMPLATES

# The figures of record were measured with its detector.
BUNDLE = CHECKOUT / ".halflight" / "bundles" / "reference"

Floats = NDArray[np.float32]
TARGET_PER_S = 200
LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
# Bytes for each pixel of the floor: map and texture read, layer written; view and layer read, view written.
FLOOR_BYTES = 8 + 16 + 16 + 12 + 16 + 12


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """One face in a crop of the measured size, and the photo `image` that it is cut from."""

    image: Image
    face: Face
    linear: Floats
    mesh: FaceMesh
    landmarks: list[Point]


@dataclass(frozen=True, slots=True)
class Timing:
    cpu_ms: float
    wall_ms: float


def face_crops(
    folder: Path, side_px: int, fitter: MeshFitter, runner: BundleRunner, limit: int
) -> list[FaceCrop]:
    """Crops the faces of the folder's first photos, with the whole chin."""
    found: list[FaceCrop] = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)[: 2 * limit]:
        image = decode(path.read_bytes(), limits=LIMITS)
        faces = runner.faces(image)
        mesh = fitter.fit(image, faces[0]) if faces else None
        if mesh is not None and len(found) < limit:
            matrix = similarity(faces[0].landmarks, ALIGNMENTS["arcface-112"].scaled(side_px))
            pixels = cv2.warpAffine(image.pixels, matrix, (side_px, side_px))
            points = np.array(faces[0].landmarks) @ matrix[:, :2].T + matrix[:, 2]
            landmarks = [(float(x), float(y)) for x, y in points]
            found.append(
                FaceCrop(
                    image, faces[0], to_linear(np.asarray(pixels, np.uint8)), mesh.moved(matrix), landmarks
                )
            )
    if not found:
        raise SystemExit("no face in the photos")
    return found


def floor_of(crop: FaceCrop, window: tuple[int, int]) -> Callable[[], object]:
    """Returns the floor: one remap and one blend over a window of the mask's size."""
    height, width = window
    texture = np.random.default_rng(0).random((256, 304, 4), np.float32)
    x, y = np.meshgrid(
        np.linspace(0, 300, width, dtype=np.float32), np.linspace(0, 250, height, dtype=np.float32)
    )
    view, shadow = crop.linear[:height, :width].copy(), np.zeros((height, width), np.float32)
    return lambda: blend(view, np.asarray(cv2.remap(texture, x, y, cv2.INTER_LINEAR), np.float32), shadow)


def timed(call: Callable[[], object]) -> Timing:
    wall, cpu = time.perf_counter(), time.thread_time()
    call()
    return Timing((time.thread_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000)


def changed(painter: MaskPainter, crop: FaceCrop, design: MaskDesign) -> tuple[int, int]:
    """Returns how many rows and columns of the picture a mask changes."""
    rows, columns = np.nonzero((painter.apply(crop.linear, crop.mesh, design) != crop.linear).any(axis=2))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def _ways(
    painter: MaskPainter,
    fitter: MeshFitter,
    crop: FaceCrop,
    same: MaskDesign,
    new: MaskDesign,
    templates: TemplateSet | None,
) -> dict[str, Callable[[], object]]:
    """Returns a call for each way of masking one face."""

    def fitted() -> Floats:
        fitter.fit(crop.image, crop.face)
        return painter.apply(crop.linear, crop.mesh, replace(new, seed=new.seed + 1))

    ways: dict[str, Callable[[], object]] = {
        "mesh, same design": lambda: painter.apply(crop.linear, crop.mesh, same),
        "mesh, new design": lambda: painter.apply(crop.linear, crop.mesh, new),
        "mesh, new design, with fit": fitted,
    }
    if templates is not None:
        photo = templates[templates.frontal(held_out=False)[new.seed % 2]]
        ways["2D baseline"] = lambda: apply_flat_mask(crop.linear, crop.landmarks, same, photo)
    return ways


def measure(
    crops: list[FaceCrop],
    painter: MaskPainter,
    fitter: MeshFitter,
    templates: TemplateSet | None,
    rounds: int,
) -> tuple[dict[str, Timing], tuple[int, int]]:
    """Returns the median time of each way over all rounds and faces, and the window that a mask changes."""
    rng = np.random.default_rng(0)
    taken: dict[str, list[Timing]] = {}
    drawn = draw_design(rng, nir=True, templates=None, held_out=False)
    same = replace(drawn, shape="wide", coverage="high", cut="pleated", pleats=3)
    window = changed(painter, crops[0], same)
    for number in track(range(rounds + 2), "masks", console=Console(stderr=True), transient=True):
        crop = crops[number % len(crops)]
        new = draw_design(rng, nir=True, templates=templates, held_out=False)
        ways = _ways(painter, fitter, crop, same, new, templates)
        ways["floor: remap and blend"] = floor_of(crop, window)
        for name, call in ways.items():
            timing = timed(call)
            # The first rounds compile and fill caches.
            if number >= 2:
                taken.setdefault(name, []).append(timing)
    return {
        name: Timing(statistics.median(t.cpu_ms for t in many), statistics.median(t.wall_ms for t in many))
        for name, many in taken.items()
    }, window


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--photos", type=Path, required=True, help="folder of face photos")
    parser.add_argument("--templates", type=Path, default=TEMPLATES if TEMPLATES.is_dir() else None)
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--faces", type=int, default=8)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    assets = find_assets()
    fitter, runner = MeshFitter(assets.network), BundleRunner(read(args.bundle))
    templates = load_templates(args.templates) if args.templates else None
    painter = MaskPainter(load_topology(assets.canonical), templates)
    print(f"{platform.machine()}, one of {os.cpu_count()} cores, CPU time of one thread")
    for side_px in args.sizes:
        crops = face_crops(args.photos, side_px, fitter, runner, args.faces)
        timing, window = measure(crops, painter, fitter, templates, args.rounds)
        moved = window[0] * window[1] * FLOOR_BYTES
        print(f"\n{side_px} px, {len(crops)} faces, mask window {window[1]} x {window[0]} px, ", end="")
        print(f"floor moves {moved / 1e6:.1f} MB")
        print(f"  {'':30}{'CPU ms':>9}{'masks/s':>10}{'wall ms':>10}{'x floor':>10}")
        least = timing["floor: remap and blend"].cpu_ms
        for name, t in timing.items():
            print(
                f"  {name:30}{t.cpu_ms:9.2f}{1000 / t.cpu_ms:10.0f}{t.wall_ms:10.2f}{t.cpu_ms / least:10.1f}"
            )
    print(f"\ntarget: {TARGET_PER_S} masks/s on one core at 224 px, fit excluded")


if __name__ == "__main__":
    main()
