"""Makes mask layers: how much light a mask lets through from a face, and the pattern of its cloth.

A layer is drawn later in any spectrum, colour and reflectance, so one cached layer gives many pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.types import Face, Pixels, Spectrum
from training.synthesis import simple
from training.synthesis.masks.designs import MaskDesign
from training.synthesis.masks.draw_design import draw_design
from training.synthesis.masks.landmarks import apply_flat_mask
from training.synthesis.masks.painter import MaskPainter
from training.synthesis.masks.raster import FAR, fill
from training.synthesis.masks.templates import TemplateSet, load_templates
from training.synthesis.masks.transplant import transplant
from training.synthesis.mesh import FaceMesh, MeshTopology

Floats = NDArray[np.float32]

# How often each engine makes the mask; without a mesh, the flat engine replaces those that need one.
KINDS = ("mesh", "transplant", "flat", "polygon")
SHARES = (0.5, 0.25, 0.12, 0.13)
# Cloth of mean brightness is stored as this level of 255, in square-root encoding.
MIDDLE = 128.0


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """`through`: uint8 [h, w], 255 where the face is seen as it is; `cloth`: uint8 [h, w, 3], the square root
    of premultiplied light, MIDDLE squared being its mean; `kind`: of KINDS; `label`: what was worn."""

    through: Pixels
    cloth: Pixels
    kind: str
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """A photo of a real mask in its frame, and the mesh of its face there."""

    frame: Pixels
    mesh: FaceMesh
    name: str


class MaskLayerMaker:
    """Draws layers of the training family: `KN95*`, `surgical_green*`, seams and folds are never worn."""

    def __init__(self, topology: MeshTopology, templates: Path, donors: tuple[Donor, ...]) -> None:
        self._templates: TemplateSet = load_templates(templates)
        self._painter = MaskPainter(topology, self._templates)
        self._topology, self._donors = topology, donors

    def layer(self, frame: Pixels, face: Face, mesh: FaceMesh | None, rng: np.random.Generator) -> Layer:
        """A mask on the face of a frame uint8 [h, w, 3]."""
        kind = str(rng.choice(KINDS, p=SHARES))
        if mesh is None and kind in ("mesh", "transplant"):
            kind = "flat"
        linear = simple.to_linear(frame)
        if kind == "transplant" and self._donors and mesh is not None:
            donor = self._donors[int(rng.integers(len(self._donors)))]
            light = simple.to_linear(donor.frame)
            size = (frame.shape[0], frame.shape[1])
            cover, cloth = transplant(light, donor.mesh, mesh, self._topology, size, rng)
            return _stored(1.0 - cover, cloth, "transplant", donor.name)
        if kind == "polygon":
            return self._polygon(linear, face, rng)
        design = draw_design(rng, nir=rng.random() < 0.5, templates=self._templates, held_out=False)
        if kind == "flat":
            return self._flat(linear, face, design, rng)
        assert mesh is not None  # noqa: S101 - the flat engines took the others
        black, white = _levels(design)
        through = self._painter.apply(np.ones_like(linear), mesh, black)[:, :, 1]
        cloth = self._painter.apply(linear, mesh, white) - linear * through[:, :, None]
        return _stored(through, cloth, "mesh", design.template or design.cut)

    def _flat(self, linear: Floats, face: Face, design: MaskDesign, rng: np.random.Generator) -> Layer:
        names = self._templates.frontal(held_out=False)
        name = names[int(rng.integers(len(names)))]
        template = self._templates[name]
        black, white = _levels(replace(design, template=name))
        through = apply_flat_mask(np.ones_like(linear), face.landmarks, black, template)[:, :, 1]
        worn = apply_flat_mask(linear, face.landmarks, white, template)
        return _stored(through, worn - linear * through[:, :, None], "flat", name)

    def _polygon(self, linear: Floats, face: Face, rng: np.random.Generator) -> Layer:
        mask = simple.random_mask(rng, nir=True)
        black, white = (replace(mask, reflectance=(v, v, v)) for v in (0.0, 1.0))
        through = simple.draw_mask(np.ones_like(linear), black, face.landmarks)[:, :, 1]
        worn = simple.draw_mask(linear, white, face.landmarks)
        return _stored(through, worn - linear * through[:, :, None], "polygon", mask.shape)


def _levels(design: MaskDesign) -> tuple[MaskDesign, MaskDesign]:
    """The design in black, which shows what it hides, and in white, which shows its pattern."""
    loops = None if design.loops is None else (0.0, 0.0, 0.0)
    black = replace(design, reflectance=(0.0, 0.0, 0.0), spectrum=Spectrum.VIS, loops=loops)
    lit = None if design.loops is None else (1.0, 1.0, 1.0)
    white = replace(design, reflectance=(1.0, 1.0, 1.0), spectrum=Spectrum.VIS, loops=lit)
    return black, white


def _stored(through: Floats, cloth: Floats, kind: str, label: str) -> Layer:
    through = np.clip(through, 0.0, 1.0)
    cloth = np.maximum(cloth, 0.0)
    covered = float((1.0 - through).sum())
    mean = float(cloth.mean(2).sum()) / max(covered, 1.0)
    root = np.sqrt(cloth / max(mean, 1e-4)) * MIDDLE
    return Layer(
        (through * 255.0 + 0.5).astype(np.uint8), np.clip(root + 0.5, 0, 255).astype(np.uint8), kind, label
    )


def normal_map(mesh: FaceMesh, topology: MeshTopology, *, frame_px: int, cells: int) -> NDArray[np.int8]:
    """Outward normals times 127, and 127 where the face is: int8 [cells, cells, 4]; zeros beside it."""
    small = mesh.points * np.float32(cells / frame_px)
    normals = mesh.normals(topology).astype(np.float32)
    depth = np.full((cells, cells), FAR, np.float32)
    out = np.zeros((cells, cells, 3), np.float32)
    fill(np.ascontiguousarray(small), normals, topology.triangles, depth, out)
    face = (depth < FAR).astype(np.float32)[:, :, None]
    return np.round(np.concatenate([out, face], axis=2) * 127.0).clip(-127, 127).astype(np.int8)
