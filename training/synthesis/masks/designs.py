"""What a mask is, before any face wears it, and the draws of training and test masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from faces.types import Spectrum

if TYPE_CHECKING:
    from training.synthesis.masks.templates import TemplateSet

Shape = Literal["wide", "round"]
Coverage = Literal["low", "medium", "high"]
# pleated, plain and cup are worn in training; seam and fold are kept for tests.
Cut = Literal["pleated", "plain", "cup", "seam", "fold"]
Reflectance = tuple[float, float, float]

SHAPES: tuple[Shape, ...] = ("wide", "round")
COVERAGES: tuple[Coverage, ...] = ("low", "medium", "high")
TRAINING_CUTS: dict[Shape, tuple[Cut, ...]] = {"wide": ("pleated", "plain"), "round": ("cup", "plain")}
HELD_OUT_CUTS: dict[Shape, tuple[Cut, ...]] = {"wide": ("seam", "fold"), "round": ("seam", "fold")}
NIST_REFLECTANCES = (0.15, 0.35, 0.75, 0.92)
# A photo of a mask has more to teach than a drawn one, but there are few of them.
TEMPLATE_SHARE = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskDesign:
    """One mask. Two equal designs look the same on the same face.

    `reflectance`: blue, green, red in [0, 1]; equal in near-infrared. Of a `template` in visible
    light it is a gain on the photo's own colours, and the cut says nothing. `drop_cm`: how far the
    lower edge passes the jaw line; `lift_cm`: shift of the upper edge; `pleats`: folds of a pleated
    cut; `wire`: a nose wire under the upper edge; `loops`: reflectance of the ear loops, None for
    no loops; `relief`: depth of wrinkles and folds, 1 is usual; `seed`: fabric noise and wrinkles.
    """

    shape: Shape
    coverage: Coverage
    reflectance: Reflectance
    spectrum: Spectrum
    cut: Cut = "plain"
    template: str | None = None
    pleats: int = 0
    drop_cm: float = 1.2
    lift_cm: float = 0.0
    wire: bool = True
    loops: Reflectance | None = (0.8, 0.8, 0.8)
    relief: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        levels = self.reflectance + (self.loops or ())
        if not all(0.0 <= level <= 1.0 for level in levels):
            raise ValueError("reflectance lies in [0, 1]")
        if self.spectrum is Spectrum.NIR and len(set(self.reflectance)) != 1:
            raise ValueError("in near-infrared the three reflectances are equal")
        if not 0 <= self.pleats <= 6 or not -1.0 <= self.drop_cm <= 3.0 or abs(self.lift_cm) > 1.5:
            raise ValueError("pleats 0 to 6, drop -1 to 3 cm, lift at most 1.5 cm")

    @property
    def held_out(self) -> bool:
        """Whether the mask belongs to the family kept for tests."""
        if self.template is not None:
            return is_held_out_template(self.template)
        return self.cut in ("seam", "fold")


def is_held_out_template(name: str) -> bool:
    """`KN95*` and `surgical_green*` are kept for tests."""
    return name.startswith(("KN95", "surgical_green"))


def nir_level(rng: np.random.Generator) -> float:
    """Reflectance at 850 nm: dyes fade, polypropylene is bright. 75 % U(.6, .95), 25 % U(.1, .35)."""
    low, high = (0.6, 0.95) if rng.random() < 0.75 else (0.1, 0.35)
    return float(rng.uniform(low, high))


def _vis_colour(rng: np.random.Generator) -> Reflectance:
    """White, black, the blues of surgical masks, or any cloth."""
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
    """A random mask, parametric or of a template's photo.

    `held_out` draws only the templates and cuts that training never wears, and training never
    draws those: the two families are disjoint.
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


def nist_matrix() -> tuple[MaskDesign, ...]:
    """24 designs: shape x nose coverage (NISTIR 8311) x reflectance at 850 nm in place of colour."""
    cuts: dict[Shape, Cut] = {"wide": "pleated", "round": "cup"}
    return tuple(
        MaskDesign(
            shape=shape,
            coverage=coverage,
            reflectance=(level, level, level),
            spectrum=Spectrum.NIR,
            cut=cuts[shape],
            pleats=3 if shape == "wide" else 0,
        )
        for shape in SHAPES
        for coverage in COVERAGES
        for level in NIST_REFLECTANCES
    )
