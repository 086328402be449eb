"""Makes pseudo-NIR for training: a visible-light photo as an 850 nm camera may see it.

It changes colour and tone only and simulates no lamp; `training.synthesis.relit` makes the test pictures
in another way. Scores of either are synthetic, and reports must say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from faces.types import Pixels
from training.synthesis import sensor
from training.synthesis.regions import Floats, Regions, find_regions, glint, wide_blur
from training.synthesis.simple import to_linear

if TYPE_CHECKING:
    from training.synthesis.mesh import FaceMesh

Range = tuple[float, float]
DARKEST = 1e-3


class NirGenerator(Protocol):
    """Makes pseudo-NIR in two steps, so that a mask can be put on between them.

    The mask must be in the linear light that the camera's automatic exposure measures.
    """

    @property
    def name(self) -> str:
        """The name of the generator, which every prepared row records."""
        ...

    def scene(self, pixels: Pixels, mesh: FaceMesh | None, rng: np.random.Generator) -> Floats:
        """Maps uint8 [h, w, 3] blue-green-red to linear light at 850 nm, float32 [h, w]; skin is near 0.5."""
        ...

    def develop(self, light: Floats, rng: np.random.Generator) -> Pixels:
        """Maps linear light [h, w] to the camera's picture, uint8 [h, w, 3] with equal channels."""
        ...


def transform(
    generator: NirGenerator, pixels: Pixels, mesh: FaceMesh | None, rng: np.random.Generator
) -> Pixels:
    """Makes the pseudo-NIR picture, without a mask, of a photo uint8 [h, w, 3]."""
    return generator.develop(generator.scene(pixels, mesh, rng), rng)


@dataclass(frozen=True, slots=True)
class TrainNirRanges:
    """Ranges of the random parameters: each pair has the ends of a uniform draw.

    `channel_weights`: Dirichlet parameters of red, green, blue (mean .83, .15, .02).
    `cheap_share`: probability of taking one random channel unchanged, the common cheap recipe.
    `shading_power`: exponent of the wide shading that is divided out; `shading_width` in face heights.
    `albedo_power`: remaining contrast of skin; `redness_gain`: lightening of lips and red cheeks.
    `hair_power`: exponent on dark, colourless pixels of the head (1 leaves them dark).
    `skin_level`: linear reflectance of skin. `background`: remaining light behind the head.
    `glint_share`: probability of a reflection of the lamp in the corneas.
    `fall_off`: vignette; light at the middle of an edge is 1 / (1 + f).
    `exposure_level`, at the 95th percentile. `blur_px`: point spread for a 250 px picture.
    `electrons`: full well; `read_noise` of full scale; `gamma` of the tone curve.
    """

    channel_weights: tuple[float, float, float] = (17.0, 3.0, 0.4)
    cheap_share: float = 0.1
    shading_power: Range = (0.5, 0.9)
    shading_width: Range = (0.18, 0.35)
    albedo_power: Range = (0.3, 0.7)
    redness_gain: Range = (0.0, 0.5)
    hair_power: Range = (0.5, 0.85)
    skin_level: Range = (0.40, 0.58)
    background: Range = (0.08, 0.9)
    glint_share: float = 0.7
    fall_off: Range = (0.1, 0.6)
    exposure_level: Range = (0.5, 0.8)
    blur_px: Range = (0.4, 1.1)
    electrons: Range = (600.0, 4000.0)
    read_noise: Range = (0.0015, 0.006)
    gamma: Range = (1.9, 2.4)
    jpeg_share: float = 0.3
    jpeg_quality: tuple[int, int] = (60, 95)


class TrainNir:
    """The training generator: mostly the red channel, with flattened shading and skin, lighter hair.

    Steps: linearise, weight towards red, divide out wide shading, compress skin, flatten redness, lighten
    hair, darken the background; then fall-off, exposure, blur, noise, tone. Works without a mesh.
    """

    name = "train-nir-1"

    def __init__(self, ranges: TrainNirRanges | None = None) -> None:
        self.ranges = ranges or TrainNirRanges()

    def scene(self, pixels: Pixels, mesh: FaceMesh | None, rng: np.random.Generator) -> Floats:
        """See `NirGenerator.scene`. Without a mesh the background stays and there are no glints."""
        r = self.ranges
        linear = to_linear(pixels)
        regions = find_regions(linear, mesh)
        level = _draw(rng, r.skin_level)
        if rng.random() < r.cheap_share:
            single = np.ascontiguousarray(linear[:, :, int(rng.integers(3))])
            return _at_level(single, regions, level)
        red, green, blue = rng.dirichlet(r.channel_weights)
        light = np.maximum(linear @ np.array([blue, green, red], np.float32), DARKEST)
        light = self._flatten(light, linear, regions, rng)
        light = _at_level(light, regions, level)
        light = self._lift_hair(light, linear, regions, level, rng)
        behind = _draw(rng, r.background)
        light = light * (behind + (1.0 - behind) * regions.head)
        if rng.random() < r.glint_share:
            shift = (float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.35, 0.2)))
            strength, size = level * _draw(rng, (0.5, 2.0)), _draw(rng, (0.12, 0.3))
            for eye in regions.eyes:
                glint(light, eye, shift=shift, size=size, strength=strength)
        return np.asarray(np.clip(light, 0.0, 4.0), np.float32)

    def _flatten(self, light: Floats, linear: Floats, regions: Regions, rng: np.random.Generator) -> Floats:
        """Reduces wide shading everywhere, albedo contrast and redness on skin."""
        r = self.ranges
        logs = np.log(light)
        sigma = max(_draw(rng, r.shading_width) * regions.face_px, 2.0)
        weight = regions.skin + np.float32(0.03)
        wide = wide_blur(logs * weight, sigma) / wide_blur(weight, sigma)
        shade = _draw(rng, r.shading_power) * (wide - regions.skin_median(wide))
        flat = logs - np.clip(shade, -1.2, 1.2)
        ratio = np.log((linear[:, :, 2] + 0.01) / (linear[:, :, 1] + 0.01))
        ratio = cv2.GaussianBlur(ratio, (0, 0), 1.0) - regions.skin_median(ratio)
        excess = np.clip(ratio, 0.0, 1.0) * np.maximum(regions.skin, regions.face * 0.5)
        flat = flat + _draw(rng, r.redness_gain) * excess
        middle = regions.skin_median(flat)
        power = 1.0 - regions.skin * (1.0 - _draw(rng, r.albedo_power))
        return np.asarray(np.exp(middle + (flat - middle) * power), np.float32)

    def _lift_hair(
        self, light: Floats, linear: Floats, regions: Regions, level: float, rng: np.random.Generator
    ) -> Floats:
        """Lightens dark, colourless pixels of the head: melanin absorbs little beyond 750 nm."""
        blue, green, red = (linear[:, :, channel] for channel in range(3))
        value = np.maximum(np.maximum(blue, green), red)
        chroma = (value - np.minimum(np.minimum(blue, green), red)) / (value + 0.05)
        typical = max(regions.skin_median(value), DARKEST)
        dark = 0.5 - 0.5 * np.tanh(5.0 * (value / typical - 0.45))
        hair = dark * np.exp(-2.0 * chroma) * regions.head * (1.0 - regions.skin)
        relative = np.clip(light / level, DARKEST, None)
        lifted = level * relative ** (1.0 - hair * (1.0 - _draw(rng, self.ranges.hair_power)))
        return np.asarray(lifted, np.float32)

    def develop(self, light: Floats, rng: np.random.Generator) -> Pixels:
        """See `NirGenerator.develop`."""
        r = self.ranges
        size = (light.shape[0], light.shape[1])
        lit = light / (1.0 + _draw(rng, r.fall_off) * sensor.squared_radius(size))
        lit = sensor.meter_highlights(lit, level=_draw(rng, r.exposure_level), percentile=95.0)
        lit = sensor.blur(lit, max(_draw(rng, r.blur_px) * min(size) / 250.0, 0.3))
        electrons, read = _draw(rng, r.electrons), _draw(rng, r.read_noise)
        lit = sensor.shot_and_read(lit, rng, electrons=electrons, read=read)
        grey = (np.clip(lit, 0, 1) ** (1 / _draw(rng, r.gamma)) * 255.0 + 0.5).astype(np.uint8)
        if rng.random() < r.jpeg_share:
            low, high = r.jpeg_quality
            grey = sensor.recompress(grey, int(rng.integers(low, high + 1)))
        return sensor.three_channels(grey)


def _draw(rng: np.random.Generator, ends: Range) -> float:
    return float(rng.uniform(*ends))


def _at_level(light: Floats, regions: Regions, level: float) -> Floats:
    """Scales the light so that the median of skin is `level`."""
    return np.asarray(light * (level / max(regions.skin_median(light), DARKEST)), np.float32)
