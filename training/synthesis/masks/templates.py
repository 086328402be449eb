"""Reads photos of masks with six anchor points (`masks.cfg` of MaskTheFace, MIT)."""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthesis.assets import SynthesisError
from training.synthesis.masks.designs import MaskDesign, is_held_out_template
from training.synthesis.simple import to_linear

ANCHORS = "abcdef"
SIDES = ("_left", "_right")


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """The photo of a mask. `colour`: linear light float32 [h, w, 3], blue-green-red; `alpha`: [h, w] 0 to 1.

    `anchors`: float32 [6, 2] pixels: upper left, nose, upper right, lower left, chin, lower right.
    """

    name: str
    colour: NDArray[np.float32]
    alpha: NDArray[np.float32]
    anchors: NDArray[np.float32]


class TemplateSet:
    """Templates by name. Raises SynthesisError if there is none."""

    def __init__(self, templates: Mapping[str, Template]) -> None:
        if not templates:
            raise SynthesisError("the folder of mask templates has none that masks.cfg names")
        self._templates = MappingProxyType(dict(sorted(templates.items())))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._templates)

    def frontal(self, *, held_out: bool) -> tuple[str, ...]:
        """Returns the names of the frontal photos of the test family or of the training family."""
        return tuple(
            name
            for name in self._templates
            if is_held_out_template(name) == held_out and not name.endswith(SIDES)
        )

    def __getitem__(self, name: str) -> Template:
        """Raises KeyError with the known names."""
        if name not in self._templates:
            raise KeyError(f"no mask template {name}; there are {', '.join(self._templates)}")
        return self._templates[name]


def chosen_template(design: MaskDesign, templates: TemplateSet | None) -> Template | None:
    """The template that a design names, None if it names none. Raises KeyError for an unknown one."""
    if design.template is None:
        return None
    if templates is None:
        raise KeyError(f"the design wants the template {design.template}, and no templates were given")
    return templates[design.template]


def load_templates(directory: Path) -> TemplateSet:
    """Reads `masks.cfg` and those of its photos that are in `directory/templates`.

    Raises SynthesisError if the list is missing or broken, or a photo has no transparency.
    """
    parser = configparser.ConfigParser()
    try:
        with (directory / "masks.cfg").open(encoding="utf-8") as stream:
            parser.read_file(stream)
        found = {}
        for name in parser.sections():
            section = parser[name]
            photo = directory / "templates" / f"{name}.png"
            # The list may name more photos than the folder has.
            if "template" in section and photo.is_file():
                pairs = [[float(v) for v in section[f"mask_{key}"].split(",")] for key in ANCHORS]
                found[name] = _read(photo, np.array(pairs, np.float32).reshape(6, 2))
    except (OSError, configparser.Error, KeyError, ValueError) as problem:
        raise SynthesisError(f"masks.cfg of the mask templates cannot be used: {problem}") from problem
    return TemplateSet(found)


def _read(photo: Path, anchors: NDArray[np.float32]) -> Template:
    pixels = cv2.imread(str(photo), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.dtype != np.uint8:
        raise SynthesisError(f"{photo.name}: a mask template is an 8-bit PNG with transparency")
    # The photos were cut out by hand; this smooths their ragged edge.
    solid = cv2.GaussianBlur((pixels[:, :, 3] > 127).astype(np.float32), (0, 0), 2.0)
    return Template(photo.stem, to_linear(pixels[:, :, :3]), np.asarray(solid, np.float32), anchors)
