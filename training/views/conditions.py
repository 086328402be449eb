"""Makes views of a photo: as it is, masked, as pseudo-NIR, masked in pseudo-NIR.

There are two families, which share no generator, mask photo or cut: one to train and calibrate with, one kept
for tests (docs/hsst.md, section 7). Scores made with either are synthetic and must say so.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from faces.types import CONDITIONS, Condition, Image, Spectrum
from training.synthesis.assets import find_assets
from training.synthesis.masks.designs import MaskDesign
from training.synthesis.masks.draw_design import draw_design
from training.synthesis.masks.painter import MaskPainter
from training.synthesis.masks.templates import load_templates
from training.synthesis.mesh import FaceMesh, MeshFitter, load_topology
from training.synthesis.nir import NirGenerator, TrainNir
from training.synthesis.relit import RelitNir
from training.synthesis.simple import to_linear, to_pixels
from training.views.found_faces import FoundFace

Family = Literal["training", "held-out"]
PHOTO = Condition(Spectrum.VIS, masked=False)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A photo in one condition. `mask`, `generator`: what the mask and the NIR were made with, else None."""

    image: Image
    mask: str | None = None
    generator: str | None = None


class ViewMaker:
    """Makes views of one family. Not thread-safe; each process has its own.

    `models`: folder of the face mesh's files; `templates`: folder of mask photos, None for drawn masks
    alone. Raises SynthesisError if a file is missing.
    """

    def __init__(self, family: Family, *, models: Path | None, templates: Path | None) -> None:
        assets = find_assets(models)
        topology = load_topology(assets.canonical)
        self.family = family
        self._templates = None if templates is None else load_templates(templates)
        self._fitter = MeshFitter(assets.network)
        self._painter = MaskPainter(topology, self._templates)
        self._nir: NirGenerator = RelitNir(topology) if family == "held-out" else TrainNir()

    def views(self, found: FoundFace, name: str, *, seed: int = 0) -> dict[Condition, View]:
        """Returns a view of each condition, or the photo alone if no mesh fits its face.

        Views depend on the photo, its name and the seed alone.
        """
        made = {PHOTO: View(found.image)}
        mesh = self.fit(found)
        if mesh is not None:
            for number, condition in enumerate(CONDITIONS):
                if condition != PHOTO:
                    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
                    made[condition] = self.view(found.image, mesh, condition, rng)
        return made

    def fit(self, found: FoundFace) -> FaceMesh | None:
        """Returns the mesh of the face, None if none fits."""
        return self._fitter.fit(found.image, found.face)

    def design(self, spectrum: Spectrum, rng: np.random.Generator) -> MaskDesign:
        """Draws a mask of this family, with the reflectance that it has in the spectrum."""
        held_out, nir = self.family == "held-out", spectrum is Spectrum.NIR
        return draw_design(rng, nir=nir, templates=self._templates, held_out=held_out)

    def view(
        self,
        photo: Image,
        mesh: FaceMesh,
        condition: Condition,
        rng: np.random.Generator,
        *,
        design: MaskDesign | None = None,
    ) -> View:
        """Makes one view of a visible-light photo whose face has this mesh.

        `design`: the mask of a masked condition; None draws one.
        """
        nir = condition.spectrum is Spectrum.NIR
        light = self._nir.scene(photo.pixels, mesh, rng) if nir else to_linear(photo.pixels)
        mask = None
        if condition.masked:
            design = design or self.design(condition.spectrum, rng)
            worn = np.repeat(light[:, :, None], 3, axis=2) if nir else light
            light = self._painter.apply(worn, mesh, design)
            light = light[:, :, 0] if nir else light
            mask = describe_design(design)
        image = Image(self._nir.develop(light, rng) if nir else to_pixels(light), condition.spectrum)
        return View(image, mask, self._nir.name if nir else None)


def describe_design(design: MaskDesign) -> str:
    """Names template or cut, shape, nose coverage, reflectance of the blue (in NIR: the only) channel."""
    kind = design.template or design.cut
    return f"{kind} {design.shape}/{design.coverage}/{design.reflectance[0]:.2f}"
