"""Builds the cache of a matcher run from archives of photos, in worker processes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from faces.align import AlignError
from faces.bundle import read
from faces.types import Face, Image, Pixels, Spectrum
from training.engine.worker_pool import in_order, worker_pool
from training.matcher.frames import FRAME_PX, face_in_frame, framed
from training.matcher.mask_layers import Donor, Layer, MaskLayerMaker, normal_map
from training.matcher.sources import RENDERED, Shot, decoded
from training.matcher.store import CELLS, PhotoRow, StoreWriter
from training.networks.onnx_runner import BundleRunner
from training.synthesis.assets import find_assets
from training.synthesis.mesh import MeshFitter, load_topology

AT_ONCE = 64
# Of `masked_photos`, files from this number on are held out.
HELD_OUT_PHOTO = 450


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """`bundle`: its detector finds the faces; `models`: folder of the mesh's files; `templates`: folder of
    mask photos; `masked_photos`: folder of photos of real masks, worn by nobody that is known."""

    bundle: Path
    templates: Path
    models: Path | None = None
    masked_photos: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Cached:
    """What the cache keeps of one photo."""

    row: PhotoRow
    frame: Pixels
    normals: NDArray[np.int8]
    layers: tuple[Layer, ...]


class Maker:
    """One process's networks. `worn`: mask layers of each training photo without a real mask."""

    def __init__(self, tools: Tools, worn: int, seed: int) -> None:
        assets = find_assets(tools.models)
        self._topology = load_topology(assets.canonical)
        self._fitter = MeshFitter(assets.network)
        self._runner = BundleRunner(read(tools.bundle), threads=1)
        self._worn, self._seed = worn, seed
        donors = () if tools.masked_photos is None else tuple(self._donors(tools.masked_photos))
        self._mask_layers = MaskLayerMaker(self._topology, tools.templates, donors)

    def _donors(self, folder: Path) -> Iterator[Donor]:
        for path in sorted(folder.glob("*.jpg")):
            if int(path.stem) >= HELD_OUT_PHOTO:
                continue
            pixels = decoded(path.read_bytes(), path.name)
            found = self._find(pixels, central=False)
            if found is None or found.inter_eye_px < 16:
                continue
            frame, landmarks = framed(pixels, found.landmarks)
            mesh = self._fitter.fit(Image(frame, Spectrum.VIS), face_in_frame(landmarks))
            if mesh is not None:
                yield Donor(frame, mesh, path.name)

    def _find(self, pixels: Pixels, *, central: bool) -> Face | None:
        faces = self._runner.faces(Image(pixels, Spectrum.VIS))
        if not faces:
            return None
        if not central:
            return faces[0]
        middle = np.array(pixels.shape[1::-1]) / 2
        return min(faces, key=lambda face: float(np.hypot(*(np.mean(face.landmarks, axis=0) - middle))))

    def cached(self, shot: Shot) -> Cached | None:
        """None where there is no face that can be aligned."""
        landmarks = shot.landmarks
        if landmarks is None:
            found = self._find(shot.pixels, central=shot.of_set == "lfw")
            if found is None:
                return None
            landmarks = found.landmarks
        try:
            frame, moved = framed(shot.pixels, landmarks)
        except AlignError:
            return None
        rng = np.random.default_rng([self._seed, zlib.crc32(shot.source.encode())])
        normals, layers = np.zeros((CELLS, CELLS, 4), np.int8), list[Layer]()
        # Rendered subjects are shown as they are rendered.
        if shot.part == "train" and shot.of_set != RENDERED:
            worn = 0 if shot.masked else self._worn if shot.named else 1
            normals, layers = self.dressed(frame, moved, rng, worn=worn)
        points = tuple((round(float(x), 2), round(float(y), 2)) for x, y in moved)
        row = PhotoRow(
            source=shot.source,
            subject=shot.subject,
            of_set=shot.of_set,
            group=shot.group,
            terms=shot.terms,
            part=shot.part,
            masked=shot.masked,
            landmarks=points,
            spectrum=shot.spectrum,
        )
        return Cached(row, frame, normals, tuple(layers))

    def dressed(
        self, frame: Pixels, landmarks: NDArray[np.float32], rng: np.random.Generator, *, worn: int
    ) -> tuple[NDArray[np.int8], list[Layer]]:
        """The normal map of the face of a frame (zeros where no mesh fits), and `worn` mask layers."""
        face = face_in_frame(landmarks)
        mesh = self._fitter.fit(Image(frame, Spectrum.VIS), face)
        normals = np.zeros((CELLS, CELLS, 4), np.int8)
        if mesh is not None:
            normals = normal_map(mesh, self._topology, frame_px=FRAME_PX, cells=CELLS)
        return normals, [self._mask_layers.layer(frame, face, mesh, rng) for _ in range(worn)]


_MAKERS: list[Maker] = []


def _open(tools: Tools, worn: int, seed: int) -> None:
    cv2.setNumThreads(1)
    _MAKERS.append(Maker(tools, worn, seed))


def _work(shot: Shot) -> Cached | None:
    return _MAKERS[0].cached(shot)


def build_cache(
    shots: Iterable[Shot],
    out: Path,
    tools: Tools,
    *,
    worn: int = 2,
    seed: int = 0,
    workers: int = 2,
    more: bool = False,
) -> None:
    """Makes the cache, or adds to it (`more`); the same whatever the number of workers."""
    with StoreWriter(out, more=more) as writer, worker_pool(workers, _open, tools, worn, seed) as pool:
        for cached in track(in_order(pool, _work, shots, at_once=AT_ONCE), "caching photos", total=None):
            if cached is None:
                writer.refused += 1
            else:
                writer.add(cached.row, cached.frame, cached.normals, cached.layers)
        writer.close()
