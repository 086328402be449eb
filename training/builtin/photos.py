"""Face photos -> a prepared set: each as it is, masked, in pseudo-NIR, and masked in pseudo-NIR.

The masks and the VIS -> NIR generators are those of training (HSST.md, section 7): what tests are made
with is never seen.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from faces.align import AlignError, align
from faces.bundle import read
from faces.types import Image, Pixels, Spectrum
from training.builtin.sources import Shot
from training.data.prepared import PreparedSet, Refused, Row, SetInfo, SetWriter
from training.onnx_runner import BundleRunner
from training.standin.photos import ALIGNMENT, SIDE_PX, FoundFace, find
from training.synthesis import simple
from training.synthesis.assets import find_assets
from training.synthesis.masks.designs import MaskDesign, draw_design
from training.synthesis.masks.templates import TemplateSet, load_templates
from training.synthesis.masks.wear import MaskPainter
from training.synthesis.mesh import FaceMesh, MeshFitter, load_topology
from training.synthesis.nir import TrainNir

# The two generators of training: by regions of the mesh, and without any geometry.
SIMPLE_SHARE = 0.3
AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the pictures are made with. `bundle`: its detector finds the faces; `models`: folder of the
    mesh's files; `templates`: folder of mask photos."""

    bundle: Path
    models: Path | None = None
    templates: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Worn:
    """How many masked copies of each photo are made."""

    vis: int = 1
    nir: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    row: Row
    crop: Pixels


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    runner: BundleRunner
    fitter: MeshFitter
    painter: MaskPainter
    templates: TemplateSet | None
    nir: TrainNir
    worn: Worn
    seed: int


_PARTS: list[_Parts] = []


def _open(tools: Tools, worn: Worn, seed: int) -> None:
    """In each worker process, once."""
    cv2.setNumThreads(1)
    assets = find_assets(tools.models)
    photos = None if tools.templates is None else load_templates(tools.templates)
    painter = MaskPainter(load_topology(assets.canonical), photos)
    runner, fitter = BundleRunner(read(tools.bundle), threads=1), MeshFitter(assets.network)
    _PARTS.append(_Parts(runner, fitter, painter, photos, TrainNir(), worn, seed))


def _work(shot: Shot) -> list[Made] | Refused:
    parts = _PARTS[0]
    rng = np.random.default_rng([parts.seed, zlib.crc32(shot.photo.name.encode())])
    found = find(shot.photo, parts.runner)
    mesh = None if found is None else parts.fitter.fit(found.image, found.face)
    if found is None or mesh is None:
        return Refused(
            source=shot.photo.name,
            subject=shot.subject,
            spectrum=Spectrum.VIS,
            code="no_face",
            detail="no face found" if found is None else "no mesh fits the face",
            split="train",
        )
    made = [Made(_row(shot, Spectrum.VIS, None, None), found.crop.pixels)]
    try:
        made += [_vis(shot, found, mesh, parts, rng) for _ in range(parts.worn.vis)]
        made += [_nir(shot, found, mesh, parts, rng, masked=i > 0) for i in range(parts.worn.nir + 1)]
    except AlignError:
        return made[:1]
    return made


def _vis(shot: Shot, found: FoundFace, mesh: FaceMesh, parts: _Parts, rng: np.random.Generator) -> Made:
    design = draw_design(rng, nir=False, templates=parts.templates, held_out=False)
    light = parts.painter.wear(simple.to_linear(found.image.pixels), mesh, design)
    image = Image(simple.to_pixels(light), Spectrum.VIS)
    return Made(_row(shot, Spectrum.VIS, design, None), align(image, found.face, ALIGNMENT).pixels)


def _nir(
    shot: Shot, found: FoundFace, mesh: FaceMesh, parts: _Parts, rng: np.random.Generator, *, masked: bool
) -> Made:
    design = draw_design(rng, nir=True, templates=parts.templates, held_out=False) if masked else None
    if not masked and rng.random() < SIMPLE_SHARE:
        pixels, name = simple.pseudo_nir(found.image.pixels, rng), "simple"
    else:
        light = parts.nir.scene(found.image.pixels, mesh, rng)
        if design is not None:
            light = parts.painter.wear(np.repeat(light[:, :, None], 3, axis=2), mesh, design)[:, :, 0]
        pixels, name = parts.nir.develop(light, rng), parts.nir.name
    crop = align(Image(pixels, Spectrum.NIR), found.face, ALIGNMENT).pixels
    return Made(_row(shot, Spectrum.NIR, design, name), crop)


def _row(shot: Shot, spectrum: Spectrum, design: MaskDesign | None, generator: str | None) -> Row:
    return Row(
        source=shot.photo.name,
        subject=shot.subject,
        spectrum=spectrum,
        masked=design is not None,
        split="train",
        mask=None if design is None else f"{design.template or design.cut} {design.shape}/{design.coverage}",
        generator=generator,
    )


def build_photos(
    shots: Iterable[Shot], out: Path, tools: Tools, *, worn: Worn, seed: int = 0, workers: int = 2
) -> PreparedSet:
    """Make the set, with a progress bar; the same whatever the number of workers."""
    info = SetInfo(
        name="built-in faces",
        alignment=ALIGNMENT,
        side_px=SIDE_PX,
        made_by="python -m training builtin photos",
        synthetic="NIR is pseudo-NIR made from visible light, masks are synthetic: no real NIR",
    )
    writer, every = SetWriter(out, info), list(shots)
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_open, initargs=(tools, worn, seed)
    ) as pool:
        for made in track(_in_order(pool, every), "making views", total=len(every)):
            if isinstance(made, Refused):
                writer.refuse(made)
                continue
            for one in made:
                writer.add(one.row, one.crop)
    return writer.close()


def _in_order(pool: ProcessPoolExecutor, shots: list[Shot]) -> Iterator[list[Made] | Refused]:
    """A few at a time: results of a whole data set would fill the memory while the disk is written."""
    waiting: deque[Future[list[Made] | Refused]] = deque()
    for shot in shots:
        waiting.append(pool.submit(_work, shot))
        if len(waiting) >= AT_ONCE:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
