"""Builds the photo set of the built-in embedder: each photo as it is, masked, as pseudo-NIR, and both.

Masks and VIS -> NIR generators are those of the training family (docs/hsst.md, section 7): nothing that tests
are made with is seen.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faces.align import align
from faces.types import Condition, Image, Spectrum
from training.data.photo_sources import Shot
from training.data.prepared import PreparedSet, Refused
from training.data.set_writer import Made
from training.synthesis import simple
from training.synthesis.mesh import FaceMesh
from training.views.conditions import PHOTO, View, ViewMaker
from training.views.found_faces import ALIGNMENT, FoundFace, find_face
from training.views.row_facts import RowFacts
from training.views.set_builder import ViewAssets, ViewTools, build_set

# The share of unmasked pseudo-NIR that the generator without a mesh makes; the other one works by regions.
SIMPLE_SHARE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedCopies:
    """How many masked copies of each photo are made in each spectrum."""

    vis: int = 1
    nir: int = 2


@dataclass(frozen=True, slots=True)
class PhotoJob:
    """One photo in all conditions."""

    shot: Shot
    copies: MaskedCopies
    seed: int

    def run(self, tools: ViewTools) -> list[Made | Refused]:
        """The photo's crop, its masked copies, its pseudo-NIR copies; or one refusal."""
        name = self.shot.photo.name
        facts = RowFacts(source=name, subject=self.shot.subject, split="train")
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        maker = tools.maker("training")
        found = find_face(self.shot.photo, tools.detector)
        if found is None:
            return [facts.refused(PHOTO)]
        mesh = maker.fit(found)
        if mesh is None:
            return [facts.refused(PHOTO, "no mesh fits the face")]
        conditions = [Condition(Spectrum.VIS, masked=True)] * self.copies.vis
        conditions += [Condition(Spectrum.NIR, masked=i > 0) for i in range(self.copies.nir + 1)]
        made: list[Made | Refused] = [Made(facts.row(PHOTO), found.crop.pixels)]
        for condition in conditions:
            view = _view(found, mesh, condition, maker, rng)
            row = facts.row(condition, mask=view.mask, generator=view.generator)
            made.append(Made(row, align(view.image, found.face, ALIGNMENT).pixels))
        return made


def _view(
    found: FoundFace, mesh: FaceMesh, condition: Condition, maker: ViewMaker, rng: np.random.Generator
) -> View:
    # Before the view's own draws: the order fixes the set.
    design = maker.design(condition.spectrum, rng) if condition.masked else None
    unmasked_nir = condition == Condition(Spectrum.NIR, masked=False)
    if unmasked_nir and rng.random() < SIMPLE_SHARE:
        pixels = simple.pseudo_nir(found.image.pixels, rng)
        return View(Image(pixels, Spectrum.NIR), generator="simple")
    return maker.view(found.image, mesh, condition, rng, design=design)


def build_photos(
    shots: Iterable[Shot],
    out: Path,
    assets: ViewAssets,
    *,
    copies: MaskedCopies,
    seed: int = 0,
    workers: int = 2,
) -> PreparedSet:
    """Makes the set, with a progress bar; the same for any `workers`.

    Raises BundleError or SynthesisError if a file is missing.
    """
    return build_set(
        [PhotoJob(shot, copies, seed) for shot in shots],
        out,
        assets,
        name="built-in faces",
        made_by="python -m training builtin photos",
        synthetic="NIR is pseudo-NIR made from visible light, masks are synthetic: no real NIR",
        families=("training",),
        workers=workers,
        label="making views",
    )
