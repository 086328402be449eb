"""Defines a mask by its parameters, and which masks are kept for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from faces.types import Spectrum

Shape = Literal["wide", "round"]
Coverage = Literal["low", "medium", "high"]
# Training uses pleated, plain and cup; seam and fold are kept for tests.
Cut = Literal["pleated", "plain", "cup", "seam", "fold"]
Reflectance = tuple[float, float, float]

SHAPES: tuple[Shape, ...] = ("wide", "round")
COVERAGES: tuple[Coverage, ...] = ("low", "medium", "high")
TRAINING_CUTS: dict[Shape, tuple[Cut, ...]] = {"wide": ("pleated", "plain"), "round": ("cup", "plain")}
HELD_OUT_CUTS: dict[Shape, tuple[Cut, ...]] = {"wide": ("seam", "fold"), "round": ("seam", "fold")}
NIST_REFLECTANCES = (0.15, 0.35, 0.75, 0.92)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskDesign:
    """The parameters of a mask. Two equal designs look the same on the same face.

    `reflectance`: blue, green, red in [0, 1]; equal in near-infrared. With a `template` in
    visible light it is a gain on the photo's own colours, and the cut has no effect. `drop_cm`: how far the
    lower edge lies below the jaw line; `lift_cm`: shift of the upper edge; `pleats`: folds of a pleated
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
        """Whether the mask belongs to the family that is kept for tests."""
        if self.template is not None:
            return is_held_out_template(self.template)
        return self.cut in ("seam", "fold")


def is_held_out_template(name: str) -> bool:
    """Tells whether a template is kept for tests: `KN95*` and `surgical_green*` are."""
    return name.startswith(("KN95", "surgical_green"))


def nist_matrix() -> tuple[MaskDesign, ...]:
    """Returns 24 designs: shape x nose coverage (NISTIR 8311) x reflectance at 850 nm in place of colour."""
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
