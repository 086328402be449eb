"""Makes masked versions of every picture below a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import Progress

from faces.bundle import read
from faces.formats import ImageError
from faces.image import DecodeLimits, decode
from faces.types import Image, Pixels, Spectrum
from training.networks.onnx_runner import BundleRunner
from training.synthesis.assets import BUILT_IN, CHECKOUT, find_assets
from training.synthesis.masks.designs import MaskDesign, nist_matrix
from training.synthesis.masks.draw_design import draw_design
from training.synthesis.masks.painter import MaskPainter
from training.synthesis.masks.sheet import contact_sheet
from training.synthesis.masks.templates import TemplateSet, load_templates
from training.synthesis.mesh import MeshFitter, load_topology
from training.synthesis.simple import to_linear, to_pixels

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
LIMITS = DecodeLimits(max_bytes=1 << 26, max_pixels=1 << 26)
TEMPLATES = CHECKOUT.parent / "shared" / "data" / "mask_templates"
SHEET_ROWS, SHEET_COLUMNS = 16, 6
SHEET_NAME, DESIGNS_NAME, UNUSABLE_NAME = "before-after.png", "designs.jsonl", "unusable.txt"


@dataclass(frozen=True, slots=True)
class Unusable:
    """A picture that no mask was put on. `path`: relative to the source folder."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class MasksReport:
    """The result of one run. `pictures`: how many could be used; `written`: their masked versions."""

    pictures: int
    written: int
    unusable: tuple[Unusable, ...]
    sheet: Path | None


class _UnusablePicture(Exception):
    """A picture cannot be masked. The text says why, for the list."""


class _PictureMasker:
    """The detector, the mesh fitter and the mask painter, loaded once."""

    def __init__(self, bundle: Path, models: Path | None, templates: Path | None) -> None:
        self._detector = BundleRunner(read(bundle))
        assets = find_assets(models)
        self._fitter = MeshFitter(assets.network)
        place = templates or (TEMPLATES if TEMPLATES.is_dir() else None)
        self.templates: TemplateSet | None = None if place is None else load_templates(place)
        self._painter = MaskPainter(load_topology(assets.canonical), self.templates)

    def apply(self, image: Image, designs: list[MaskDesign]) -> list[Pixels]:
        """Masks the largest face of the picture once for each design. Raises _UnusablePicture."""
        found = self._detector.faces(image)
        if not found:
            raise _UnusablePicture("no face found")
        mesh = self._fitter.fit(image, found[0])
        if mesh is None:
            raise _UnusablePicture("the face mesh does not fit")
        linear = to_linear(image.pixels)
        return [to_pixels(self._painter.apply(linear, mesh, design)) for design in designs]


def make_masks(
    source: Path,
    out: Path,
    *,
    bundle: Path = BUILT_IN,
    models: Path | None = None,
    templates: Path | None = None,
    variants: int = 3,
    nir: bool = False,
    matrix: bool = False,
    held_out: bool = False,
    seed: int = 0,
    sheet: bool = True,
) -> MasksReport:
    """Masks every picture below `source` and writes PNG files below `out`, in the same folders.

    A picture's masks depend on `seed` and its relative path only, so a run can be repeated in
    parts. Raises SynthesisError or BundleError if a file is missing, ValueError if there is no picture.
    """
    files = list(_pictures(source, out))
    if not files:
        raise ValueError(f"no pictures ({', '.join(sorted(SUFFIXES))}) below {source.name or source}")
    masker = _PictureMasker(bundle, models, templates)
    out.mkdir(parents=True, exist_ok=True)
    unusable: list[Unusable] = []
    rows: list[list[Pixels]] = []
    written = 0
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        (out / DESIGNS_NAME).open("w", encoding="utf-8") as designs_file,
    ):
        for path in progress.track(files, description="masks"):
            relative = path.relative_to(source)
            try:
                image = decode(path.read_bytes(), limits=LIMITS, spectrum=Spectrum.NIR if nir else None)
                designs = _designs(relative, image, masker.templates, variants, matrix, held_out, seed)
                masked = masker.apply(image, designs)
            except (OSError, ImageError, _UnusablePicture) as problem:
                unusable.append(Unusable(relative.as_posix(), str(problem) or type(problem).__name__))
                continue
            for number, (design, pixels) in enumerate(zip(designs, masked, strict=True), 1):
                name = relative.with_name(f"{relative.name}.mask-{number:02d}.png")
                _write(out / name, pixels)
                record = {"path": name.as_posix(), "source": relative.as_posix(), **asdict(design)}
                designs_file.write(json.dumps(record, sort_keys=True) + "\n")
            written += len(masked)
            if len(rows) < SHEET_ROWS:
                rows.append([image.pixels, *masked[:: max(1, len(masked) // SHEET_COLUMNS)][:SHEET_COLUMNS]])
    lines = [f"{entry.path}: {entry.reason}" for entry in unusable]
    (out / UNUSABLE_NAME).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    shown = out / SHEET_NAME if sheet and rows else None
    if shown is not None:
        _write(shown, contact_sheet(rows))
    return MasksReport(len(files) - len(unusable), written, tuple(unusable), shown)


def _pictures(source: Path, out: Path) -> Iterator[Path]:
    """Yields the pictures in a fixed order, without those that an earlier run wrote."""
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_relative_to(out):
            yield path


def _designs(
    relative: Path,
    image: Image,
    templates: TemplateSet | None,
    variants: int,
    matrix: bool,
    held_out: bool,
    seed: int,
) -> list[MaskDesign]:
    if matrix:
        return list(nist_matrix())
    rng = np.random.default_rng([seed, *relative.as_posix().encode()])
    near_infrared = image.spectrum is Spectrum.NIR
    return [
        draw_design(rng, nir=near_infrared, templates=templates, held_out=held_out) for _ in range(variants)
    ]


def _write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(".png", pixels)
    if not done:
        raise OSError(f"{path.name} could not be encoded")
    path.write_bytes(encoded.tobytes())
