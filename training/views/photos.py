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
from pathlib import Path

import numpy as np
from rich.progress import track

from faces.align import AlignError, align
from faces.bundle import read
from faces.types import Condition, Image, Spectrum
from training.data.photo_sources import Shot
from training.data.prepared import Made, PreparedSet, Refused, Row, SetInfo, SetWriter
from training.engine.worker_pool import worker_pool
from training.networks.onnx_runner import BundleRunner
from training.synthesis import simple
from training.synthesis.mesh import FaceMesh
from training.views.conditions import PHOTO, Studio, View
from training.views.found_faces import ALIGNMENT, SIDE_PX, FoundFace, find

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
class _Parts:
    runner: BundleRunner
    studio: Studio
    worn: Worn
    seed: int


_PARTS: list[_Parts] = []


def _open(tools: Tools, worn: Worn, seed: int) -> None:
    """In each worker process, once."""
    studio = Studio("training", models=tools.models, templates=tools.templates)
    _PARTS.append(_Parts(BundleRunner(read(tools.bundle), threads=1), studio, worn, seed))


def _work(shot: Shot) -> list[Made | Refused]:
    parts = _PARTS[0]
    rng = np.random.default_rng([parts.seed, zlib.crc32(shot.photo.name.encode())])
    found = find(shot.photo, parts.runner)
    mesh = None if found is None else parts.studio.fit(found)
    if found is None or mesh is None:
        refused = Refused(
            source=shot.photo.name,
            subject=shot.subject,
            spectrum=Spectrum.VIS,
            code="no_face",
            detail="no face found" if found is None else "no mesh fits the face",
            split="train",
        )
        return [refused]
    plain = Made(_row(shot, PHOTO, View(found.image)), found.crop.pixels)
    conditions = [Condition(Spectrum.VIS, masked=True)] * parts.worn.vis
    conditions += [Condition(Spectrum.NIR, masked=i > 0) for i in range(parts.worn.nir + 1)]
    try:
        return [plain, *(_made(shot, found, mesh, one, parts.studio, rng) for one in conditions)]
    except AlignError:
        return [plain]


def _made(
    shot: Shot,
    found: FoundFace,
    mesh: FaceMesh,
    condition: Condition,
    studio: Studio,
    rng: np.random.Generator,
) -> Made:
    design = studio.design(condition.spectrum, rng) if condition.masked else None
    nir = condition.spectrum is Spectrum.NIR
    if nir and not condition.masked and rng.random() < SIMPLE_SHARE:
        pixels = simple.pseudo_nir(found.image.pixels, rng)
        view = View(Image(pixels, Spectrum.NIR), generator="simple")
    else:
        view = studio.view(found.image, mesh, condition, rng, design=design)
    crop = align(view.image, found.face, ALIGNMENT).pixels
    return Made(_row(shot, condition, view), crop)


def _row(shot: Shot, condition: Condition, view: View) -> Row:
    return Row(
        source=shot.photo.name,
        subject=shot.subject,
        spectrum=condition.spectrum,
        masked=condition.masked,
        split="train",
        mask=view.mask,
        generator=view.generator,
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
    with worker_pool(workers, _open, tools, worn, seed) as pool:
        for made in track(_in_order(pool, every), "making views", total=len(every)):
            writer.take(made)
    return writer.close()


def _in_order(pool: ProcessPoolExecutor, shots: list[Shot]) -> Iterator[list[Made | Refused]]:
    """A few at a time: results of a whole data set would fill the memory while the disk is written."""
    waiting: deque[Future[list[Made | Refused]]] = deque()
    for shot in shots:
        waiting.append(pool.submit(_work, shot))
        if len(waiting) >= AT_ONCE:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
