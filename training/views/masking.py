"""Puts synthetic masks on the pictures of a data set: which pictures, which masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from faces.bundle import file_sha256
from faces.types import Face, Image, Spectrum
from training.data.loaded import Place
from training.data.records import DataSetError
from training.synthesis import simple
from training.synthesis.assets import SynthesisError, find_assets
from training.synthesis.masks.designs import MaskDesign
from training.synthesis.masks.draw_design import draw_design
from training.synthesis.masks.painter import MaskPainter
from training.synthesis.masks.templates import load_templates
from training.synthesis.masks.uv import UvMasker
from training.synthesis.mesh import MeshFitter, load_topology

Floats = NDArray[np.float32]
# The spectra whose pictures also get a masked copy.
MaskedSpectra = Literal["none", "nir", "all"]
# `mesh` lays a sheet of cloth over the fitted face; `uv` is equation (4) of the paper, literally; `landmarks`
# needs no mesh.
MaskEngine = Literal["mesh", "uv", "landmarks"]
# `split`: test samples get masks of the held-out family, all others of the training family.
MaskFamily = Literal["split", "training", "held-out"]

# The percentile that a camera's exposure keeps from clipping.
METERED_PERCENTILE, LEAST_LIGHT = 95.0, 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskOptions:
    """How a set is masked.

    `models`: folder of the face mesh's files; `templates`: folder with `masks.cfg`.
    """

    masked: MaskedSpectra = "none"
    engine: MaskEngine = "mesh"
    family: MaskFamily = "split"
    models: Path | None = None
    templates: Path | None = None

    def applies(self, spectrum: Spectrum) -> bool:
        """Whether pictures of the spectrum get a masked copy."""
        return self.masked == "all" or (self.masked == "nir" and spectrum is Spectrum.NIR)

    def held_out(self, place: Place) -> bool:
        """Whether the sample gets a mask of the held-out family; the landmarks engine has one family only.

        Raises DataSetError if the sample is trained on in one fold and tested in another.
        """
        if self.engine == "landmarks":
            return False
        if self.family == "split" and place.split == "none":
            raise DataSetError(
                "a picture that several folds use in different parts cannot choose its masks by split: "
                "prepare one fold (--fold 1), or say --mask-family training or held-out"
            )
        return self.family == "held-out" or (self.family == "split" and place.split == "test")

    def facts(self) -> dict[str, str]:
        """Returns what decides the masks, with the digests of the files. Raises SynthesisError."""
        if self.masked == "none":
            return {"masked": "none"}
        facts: dict[str, str] = {"masked": self.masked, "engine": self.engine}
        if self.engine != "landmarks":
            assets = find_assets(self.models)
            facts |= {"family": self.family}
            facts |= {"mesh network": file_sha256(assets.network), "face": file_sha256(assets.canonical)}
            facts |= {"templates": _digests(self.templates) if self.templates is not None else "none"}
        return facts


def _digests(folder: Path) -> str:
    files = [folder / "masks.cfg", *sorted((folder / "templates").glob("*.png"))]
    if not files[0].is_file():
        raise SynthesisError(f"{folder.name} holds no masks.cfg: give the folder of the mask templates")
    return " ".join(f"{path.name}:{file_sha256(path)[:16]}" for path in files)


@dataclass(frozen=True, slots=True, eq=False)
class MaskedImage:
    """A picture with a mask, and the mask's name."""

    image: Image
    mask: str


class MaskApplier:
    """Puts a random mask on a face, in the linear light of the source picture.

    Raises SynthesisError if a file of the face mesh is missing.
    """

    def __init__(self, options: MaskOptions) -> None:
        self._options = options
        self._mesh: _MeshEngine | None = None
        if options.masked != "none" and options.engine != "landmarks":
            self._mesh = _MeshEngine(options)

    def apply(
        self, image: Image, face: Face, rng: np.random.Generator, *, held_out: bool
    ) -> MaskedImage | None:
        """Returns None if no mesh fits the face. A bright mask lowers the exposure of a NIR picture."""
        before = simple.to_linear(image.pixels)
        nir = image.spectrum is Spectrum.NIR
        if self._mesh is not None:
            masked = self._mesh.apply(before, image, face, rng, held_out=held_out)
            if masked is None:
                return None
            after, name = masked.light, masked.name
        else:
            mask = simple.random_mask(rng, nir=nir)
            after = simple.draw_mask(before, mask, face.landmarks)
            name = f"landmarks {mask.shape}/{mask.coverage}/{mask.reflectance[1]:.2f}"
        # The paper adds the mask after the camera, so its engine changes no exposure.
        if nir and self._options.engine != "uv":
            after = after * np.float32(min(1.0, _metered(before) / _metered(after)))
        return MaskedImage(Image(simple.to_pixels(after), image.spectrum), name)


def through_linear_light(image: Image) -> Image:
    """Converts a picture to linear light and back, so that unmasked pictures are processed as masked ones."""
    return Image(simple.to_pixels(simple.to_linear(image.pixels)), image.spectrum)


def _metered(light: Floats) -> float:
    return max(float(np.percentile(light, METERED_PERCENTILE)), LEAST_LIGHT)


@dataclass(frozen=True, slots=True, eq=False)
class _MaskedLight:
    light: Floats
    name: str


class _MeshEngine:
    """Masks that follow a mesh fitted to the face."""

    def __init__(self, options: MaskOptions) -> None:
        assets = find_assets(options.models)
        self._fitter = MeshFitter(assets.network)
        self._templates = load_templates(options.templates) if options.templates is not None else None
        topology = load_topology(assets.canonical)
        self._name: MaskEngine = options.engine
        self._painter: MaskPainter | UvMasker = (
            UvMasker(topology, self._templates)
            if options.engine == "uv"
            else MaskPainter(topology, self._templates)
        )

    def apply(
        self, linear: Floats, image: Image, face: Face, rng: np.random.Generator, *, held_out: bool
    ) -> _MaskedLight | None:
        mesh = self._fitter.fit(image, face)
        if mesh is None:
            return None
        nir = image.spectrum is Spectrum.NIR
        design = draw_design(rng, nir=nir, templates=self._templates, held_out=held_out)
        return _MaskedLight(self._painter.apply(linear, mesh, design), _mask_name(self._name, design))


def _mask_name(engine: MaskEngine, design: MaskDesign) -> str:
    kind = design.template or design.cut
    family = "held-out" if design.held_out else "training"
    return f"{engine} {family} {design.shape}/{design.coverage}/{kind}/{design.reflectance[1]:.2f}"
