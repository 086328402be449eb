"""Masks for prepared pictures: which are worn, and how they are put on the source picture."""

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
from training.synthesis.masks.templates import load_templates
from training.synthesis.masks.wear import MaskPainter
from training.synthesis.mesh import MeshFitter, load_topology

Floats = NDArray[np.float32]
# Whose pictures also get a masked copy.
Masked = Literal["none", "nir", "all"]
Engine = Literal["mesh", "landmarks"]
# `split`: test samples wear the held-out family, all others the training family.
Family = Literal["split", "training", "held-out"]

# The percentile that a camera's exposure keeps from clipping.
METERED_PERCENTILE, LEAST_LIGHT = 95.0, 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskOptions:
    """`models`: folder of the face mesh's files; `templates`: folder with `masks.cfg`."""

    masked: Masked = "none"
    engine: Engine = "mesh"
    family: Family = "split"
    models: Path | None = None
    templates: Path | None = None

    def applies(self, spectrum: Spectrum) -> bool:
        return self.masked == "all" or (self.masked == "nir" and spectrum is Spectrum.NIR)

    def held_out(self, place: Place) -> bool:
        """Whether the sample wears the test family; the landmarks engine has one family only.

        Raises DataSetError where the sample is trained on in one fold and tested in another.
        """
        if self.engine == "landmarks":
            return False
        if self.family == "split" and place.split == "none":
            raise DataSetError(
                "a picture that several folds use in different parts cannot choose its masks by split: "
                "prepare one fold (--fold 1), or say --mask-family training or held-out"
            )
        return self.family == "held-out" or (self.family == "split" and place.split == "test")

    def described(self) -> dict[str, str]:
        """What decides the masks, by content and not by place. Raises SynthesisError."""
        if self.masked == "none":
            return {"masked": "none"}
        facts: dict[str, str] = {"masked": self.masked, "engine": self.engine}
        if self.engine == "mesh":
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
class Worn:
    """A picture with a mask on, and what mask it is."""

    image: Image
    mask: str


class Wardrobe:
    """Puts a random mask on a face, in the source picture's linear light. Raises SynthesisError."""

    def __init__(self, options: MaskOptions) -> None:
        self._options = options
        self._mesh: _MeshEngine | None = None
        if options.masked != "none" and options.engine == "mesh":
            self._mesh = _MeshEngine(options)

    def wear(self, image: Image, face: Face, rng: np.random.Generator, *, held_out: bool) -> Worn | None:
        """None where no mesh fits the face. A bright mask drives a NIR camera's exposure down."""
        before = simple.to_linear(image.pixels)
        nir = image.spectrum is Spectrum.NIR
        if self._mesh is not None:
            found = self._mesh.wear(before, image, face, rng, held_out=held_out)
            if found is None:
                return None
            after, name = found.light, found.name
        else:
            mask = simple.random_mask(rng, nir=nir)
            after = simple.wear(before, mask, face.landmarks)
            name = f"landmarks {mask.shape}/{mask.coverage}/{mask.reflectance[1]:.2f}"
        if nir:
            after = after * np.float32(min(1.0, _metered(before) / _metered(after)))
        return Worn(Image(simple.to_pixels(after), image.spectrum), name)


def plain(image: Image) -> Image:
    """An unmasked picture through the same linear light and back, so that the way tells nothing."""
    return Image(simple.to_pixels(simple.to_linear(image.pixels)), image.spectrum)


def _metered(light: Floats) -> float:
    return max(float(np.percentile(light, METERED_PERCENTILE)), LEAST_LIGHT)


@dataclass(frozen=True, slots=True, eq=False)
class _Light:
    light: Floats
    name: str


class _MeshEngine:
    def __init__(self, options: MaskOptions) -> None:
        assets = find_assets(options.models)
        self._fitter = MeshFitter(assets.network)
        self._templates = load_templates(options.templates) if options.templates is not None else None
        self._painter = MaskPainter(load_topology(assets.canonical), self._templates)

    def wear(
        self, linear: Floats, image: Image, face: Face, rng: np.random.Generator, *, held_out: bool
    ) -> _Light | None:
        mesh = self._fitter.fit(image, face)
        if mesh is None:
            return None
        nir = image.spectrum is Spectrum.NIR
        design = draw_design(rng, nir=nir, templates=self._templates, held_out=held_out)
        return _Light(self._painter.wear(linear, mesh, design), _named(design))


def _named(design: MaskDesign) -> str:
    kind = design.template or design.cut
    family = "held-out" if design.held_out else "training"
    return f"mesh {family} {design.shape}/{design.coverage}/{kind}/{design.reflectance[1]:.2f}"
