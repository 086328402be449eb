"""Makes pseudo-NIR for tests: removes the photo's own light from the face and adds an infrared lamp.

Every step differs from `training.synthesis.nir`, so that a network is not tested on the generator it was
trained on: it unmixes pigments instead of weighting channels, fits shading to the mesh's normals, and
uses another lens, noise, meter and tone curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from faces.types import Pixels
from training.synthesis import sensor
from training.synthesis.regions import Floats, Regions, find_regions, glint, wide_blur
from training.synthesis.shading import FaceSurface, extend, fit_shading, rasterise_mesh
from training.synthesis.simple import to_linear

if TYPE_CHECKING:
    from training.synthesis.mesh import FaceMesh, MeshTopology

Range = tuple[float, float]

# Relative absorption in broad red, green and blue, and at 850 nm. Melanin follows
# wavelength^-3.33 (Jacques 1998); blood from the spectra of oxyhaemoglobin (Prahl 1999).
MELANIN, MELANIN_NIR = (1.00, 1.42, 2.42), 0.31
BLOOD, BLOOD_NIR = (0.10, 1.00, 0.95), 0.03
FACE_CM = 18.0
CHROMA_LIMIT = 0.8
NOISE_FLOOR = 0.006


@dataclass(frozen=True, slots=True)
class RelitRanges:
    """Ranges of the random parameters: each pair has the ends of a uniform draw.

    `unmixing`: 1 takes the pigment law, 0 the red channel. `delighting`: exponent of the fitted
    shading that is divided out. `skin_contrast` and `other_contrast`: slope of the log-albedo
    at the skin's median; `darkest` and `brightest`: the natural logarithms at which it saturates.
    `lamp_cm`: distance to the face; `lamp_aside`: offset from the lens over that distance.
    `wrap`: light beyond the terminator; `gloss`, `sharpness`: the skin's highlight.
    `behind`, `torso`: light on background and shoulders as a share of the head's.
    `level`, `clipped`: centre-weighted mean and the share of white pixels that the meter allows.
    `blur_px` for a 250 px picture; `glow`: share of light in the lens' wide halo.
    """

    unmixing: Range = (0.45, 0.8)
    delighting: Range = (0.75, 1.0)
    skin_contrast: Range = (0.45, 0.75)
    other_contrast: Range = (0.7, 0.95)
    darkest: Range = (1.1, 1.7)
    brightest: Range = (0.35, 0.6)
    skin_level: Range = (0.38, 0.60)
    lamp_cm: Range = (40.0, 90.0)
    lamp_aside: Range = (-0.12, 0.12)
    wrap: Range = (0.1, 0.3)
    gloss: Range = (0.03, 0.14)
    sharpness: Range = (10.0, 28.0)
    edge_light: Range = (0.5, 0.8)
    behind: Range = (0.015, 0.12)
    torso: Range = (0.35, 0.8)
    glint_strength: Range = (1.0, 3.0)
    level: Range = (0.28, 0.44)
    clipped: Range = (0.005, 0.05)
    blur_px: Range = (0.5, 1.0)
    glow: Range = (0.03, 0.12)
    electrons: Range = (900.0, 6000.0)
    read_noise: Range = (0.001, 0.004)
    row_noise: Range = (0.0005, 0.0025)
    shoulder: Range = (0.2, 0.9)
    gamma: Range = (1.6, 2.1)
    black: Range = (0.0, 0.035)
    jpeg_share: float = 0.7
    jpeg_quality: tuple[int, int] = (55, 92)


def channel_law(linear: Floats, *, unmixing: float) -> Floats:
    """Returns log light at 850 nm [h, w] from linear light [h, w, 3] (blue, green, red).

    It solves Beer-Lambert in three channels, log intensity = shade - melanin - blood, for the three, and
    composes them with the pigments' absorption at 850 nm. The result is a product of powers of the
    channels.
    """
    mixed = np.array([np.ones(3), MELANIN, BLOOD])
    powers = np.linalg.solve(mixed, np.array([1.0, MELANIN_NIR, BLOOD_NIR]))
    powers = unmixing * powers + (1.0 - unmixing) * np.array([1.0, 0.0, 0.0])
    logs = np.log(np.maximum(linear, 0.0) + np.float32(NOISE_FLOOR))
    red = logs[:, :, 2]
    # A JPEG's chroma is coarse, and the powers amplify it.
    green = cv2.GaussianBlur(logs[:, :, 1] - red, (0, 0), 1.2)
    blue = cv2.GaussianBlur(logs[:, :, 0] - red, (0, 0), 1.8)
    chroma = powers[1] * green + powers[2] * blue
    return np.asarray(red + CHROMA_LIMIT * np.tanh(chroma / CHROMA_LIMIT), np.float32)


class RelitNir:
    """The test generator: removes the light of a face by spherical harmonics, relights it from near
    the lens."""

    name = "relit-nir-1"

    def __init__(self, topology: MeshTopology, ranges: RelitRanges | None = None) -> None:
        self._topology = topology
        self.ranges = ranges or RelitRanges()

    def scene(self, pixels: Pixels, mesh: FaceMesh | None, rng: np.random.Generator) -> Floats:
        """See `NirGenerator.scene`. Raises ValueError without a mesh."""
        if mesh is None:
            raise ValueError("RelitNir lights a face by its mesh: fit one first, or use TrainNir")
        r = self.ranges
        linear = to_linear(pixels)
        regions = find_regions(linear, mesh)
        surface = rasterise_mesh(mesh, self._topology, (linear.shape[0], linear.shape[1]))
        logs = channel_law(linear, unmixing=_draw(rng, r.unmixing))
        shade = fit_shading(np.exp(logs), surface, regions)
        spread = 0.08 * regions.face_px
        logs = logs - _draw(rng, r.delighting) * extend(shade, surface.cover, spread, beyond=0.0)
        albedo = self._compress(logs, regions, rng)
        light = albedo * self._lamp(surface, regions, rng)
        light = light * self._depth_of_scene(mesh, regions, rng)
        self._eyes(light, regions, rng)
        return np.asarray(np.clip(light, 0.0, 4.0), np.float32)

    def _compress(self, logs: Floats, regions: Regions, rng: np.random.Generator) -> Floats:
        """Compresses the log-albedo towards skin: dark hair and brows get lighter."""
        r = self.ranges
        relative = logs - regions.skin_median(logs)
        skin, other = _draw(rng, r.skin_contrast), _draw(rng, r.other_contrast)
        slope = other + (skin - other) * regions.skin
        limit = np.where(relative < 0, _draw(rng, r.darkest), _draw(rng, r.brightest))
        bent = limit * np.tanh(slope * relative / limit)
        return np.asarray(_draw(rng, r.skin_level) * np.exp(bent), np.float32)

    def _lamp(self, surface: FaceSurface, regions: Regions, rng: np.random.Generator) -> Floats:
        """Returns light [h, w] on the surface, 1 if it faces the lamp.

        Beyond the mesh it fades to the level of surfaces that turn away.
        """
        r = self.ranges
        aside = np.array([_draw(rng, r.lamp_aside), _draw(rng, r.lamp_aside), 1.0], np.float32)
        lamp = aside / np.linalg.norm(aside)
        half = lamp + np.array([0.0, 0.0, 1.0], np.float32)
        half /= np.linalg.norm(half)
        wrap = _draw(rng, r.wrap)
        diffuse = np.clip((surface.normals @ lamp + wrap) / (1.0 + wrap), 0.12, 1.0)
        far = _draw(rng, r.lamp_cm) / FACE_CM * regions.face_px
        diffuse = diffuse * (far / (far + surface.depth)) ** 2
        shine = np.clip(surface.normals @ half, 0.0, 1.0) ** _draw(rng, r.sharpness)
        shine = _draw(rng, r.gloss) * shine * surface.cover * regions.skin
        logs = np.log(diffuse).astype(np.float32)
        beyond = float(np.log(_draw(rng, r.edge_light)))
        lit = np.exp(extend(logs, surface.cover, 0.06 * regions.face_px, beyond=beyond))
        return np.asarray(lit * (1.0 + 2.0 * shine), np.float32)

    def _depth_of_scene(self, mesh: FaceMesh, regions: Regions, rng: np.random.Generator) -> Floats:
        """Returns the lamp's light by distance: shoulders get less than the face, the wall much less."""
        r = self.ranges
        chin = mesh.points[152, :2]
        up = mesh.points[10, :2] - chin
        up = up / max(float(np.linalg.norm(up)), 1e-3)
        y, x = np.mgrid[0 : regions.head.shape[0], 0 : regions.head.shape[1]].astype(np.float32)
        below = -((x - chin[0]) * up[0] + (y - chin[1]) * up[1]) / regions.face_px
        torso = 1.0 + (_draw(rng, r.torso) - 1.0) * np.clip(below / 0.6, 0.0, 1.0)
        behind = _draw(rng, r.behind)
        return np.asarray(behind + (1.0 - behind) * regions.head * torso, np.float32)

    def _eyes(self, light: Floats, regions: Regions, rng: np.random.Generator) -> None:
        """Adds the reflection of the lamp to both corneas, at the same place in each."""
        shift = (float(rng.uniform(-0.25, 0.25)), float(rng.uniform(-0.3, 0.3)))
        strength, size = _draw(rng, self.ranges.glint_strength), float(rng.uniform(0.1, 0.22))
        for eye in regions.eyes:
            glint(light, eye, shift=shift, size=size, strength=strength)

    def develop(self, light: Floats, rng: np.random.Generator) -> Pixels:
        """See `NirGenerator.develop`: halo, centre-weighted meter, row noise, shoulder, black."""
        r = self.ranges
        size = min(light.shape)
        sharp = sensor.blur(light, max(_draw(rng, r.blur_px) * size / 250.0, 0.3))
        glow = _draw(rng, r.glow)
        lit = (1.0 - glow) * sharp + glow * wide_blur(light, 0.03 * size)
        lit = sensor.meter_centre(
            np.asarray(lit, np.float32),
            level=_draw(rng, r.level),
            tightness=3.0,
            clipped=_draw(rng, r.clipped),
        )
        lit = sensor.shot_and_read(lit, rng, electrons=_draw(rng, r.electrons), read=_draw(rng, r.read_noise))
        rows = rng.standard_normal((light.shape[0], 1)) * _draw(rng, r.row_noise)
        lit = np.clip(lit + rows, 0.0, None)
        shoulder, black = _draw(rng, r.shoulder), _draw(rng, r.black)
        bent = lit * (1.0 + shoulder) / (1.0 + shoulder * lit)
        tone = black + (1.0 - black) * np.clip(bent, 0.0, 1.0) ** (1.0 / _draw(rng, r.gamma))
        grey = (tone * 255.0 + 0.5).astype(np.uint8)
        if rng.random() < r.jpeg_share:
            low, high = r.jpeg_quality
            grey = sensor.recompress(grey, int(rng.integers(low, high + 1)))
        return sensor.three_channels(grey)


def _draw(rng: np.random.Generator, ends: Range) -> float:
    return float(rng.uniform(*ends))
