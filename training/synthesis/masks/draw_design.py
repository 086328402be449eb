"""Draws mask designs at random, from the training family or from the test family."""

from __future__ import annotations

import numpy as np

from faces.types import Spectrum
from training.synthesis.masks.designs import (
    COVERAGES,
    HELD_OUT_CUTS,
    SHAPES,
    TRAINING_CUTS,
    MaskDesign,
    Reflectance,
)
from training.synthesis.masks.templates import TemplateSet

# A photo of a mask shows more detail than a drawn one, but there are few of them.
TEMPLATE_SHARE = 0.4


def nir_level(rng: np.random.Generator) -> float:
    """Draws a reflectance at 850 nm: 75 % U(.6, .95), because polypropylene is bright; 25 % U(.1, .35)."""
    low, high = (0.6, 0.95) if rng.random() < 0.75 else (0.1, 0.35)
    return float(rng.uniform(low, high))


def _vis_colour(rng: np.random.Generator) -> Reflectance:
    """Draws white, black, a blue of surgical masks, or the colour of any cloth."""
    kind = rng.random()
    if kind < 0.25:
        level = float(rng.uniform(0.65, 0.92))
        return (level, level, level)
    if kind < 0.4:
        level = float(rng.uniform(0.02, 0.08))
        return (level, level, level)
    if kind < 0.6:
        red = float(rng.uniform(0.25, 0.5))
        return (min(0.9, red + float(rng.uniform(0.2, 0.4))), red + float(rng.uniform(0.05, 0.2)), red)
    blue, green, red = (float(v) for v in rng.uniform(0.03, 0.85, 3))
    return (blue, green, red)


def draw_design(
    rng: np.random.Generator, *, nir: bool, templates: TemplateSet | None, held_out: bool
) -> MaskDesign:
    """Draws a mask, either a parametric one or the photo of a template.

    With `held_out` it draws from the templates and cuts that are kept for tests, without it from the
    others: the two families are disjoint.
    """
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    coverage = COVERAGES[int(rng.choice(3, p=(0.2, 0.4, 0.4)))]
    cuts = (HELD_OUT_CUTS if held_out else TRAINING_CUTS)[shape]
    cut = cuts[int(rng.integers(len(cuts)))]
    names = () if templates is None else templates.frontal(held_out=held_out)
    template = None
    if names and rng.random() < TEMPLATE_SHARE:
        template = names[int(rng.integers(len(names)))]
        shape = "round" if template.startswith("N95") else "wide"
        cut = "plain"
    if nir:
        level = nir_level(rng)
        reflectance: Reflectance = (level, level, level)
    elif template is not None:
        gain = float(rng.uniform(0.75, 1.0))
        reflectance = (gain, gain, gain)
    else:
        reflectance = _vis_colour(rng)
    band = float(rng.uniform(0.6, 0.9))
    white = rng.random() < 0.7
    return MaskDesign(
        shape=shape,
        coverage=coverage,
        reflectance=reflectance,
        spectrum=Spectrum.NIR if nir else Spectrum.VIS,
        cut=cut,
        template=template,
        pleats=int(rng.integers(2, 5)) if cut == "pleated" else 0,
        drop_cm=float(rng.uniform(0.6, 1.8)),
        lift_cm=float(rng.uniform(-0.4, 0.4)),
        wire=bool(rng.random() < 0.7),
        loops=(band, band, band) if white else reflectance,
        relief=float(rng.uniform(0.6, 1.4)),
        seed=int(rng.integers(2**31)),
    )
