"""Makes a picture of a cached photo in any condition, as input of the trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels, Spectrum
from training.matcher.frames import BORDER_PX, CROP_PX, FRAME_PX
from training.matcher.store import CELLS, MaskRow, PhotoRow
from training.synthesis.cameras import any_camera, plain_camera
from training.synthesis.lamps import glints
from training.synthesis.relighting import toned
from training.synthesis.simple import to_linear, to_pixels
from training.synthesis.spectra import EVERYTHING, Ingredient, fabric, scene

Floats = NDArray[np.float32]

# How far a view is turned (degrees), scaled and shifted (pixels of 112) from the aligned crop.
TURN, SCALE, SHIFT = 7.0, 0.07, 2.5
# Reflectance that skin is taken to have in visible light.
SKIN = 0.4


@dataclass(frozen=True, slots=True)
class Wanted:
    """`photo`: of the cache; `mask`: a mask layer that fits it, or None; `nir`, else visible."""

    photo: int
    mask: int | None
    nir: bool


class Photos(Protocol):
    """What views are drawn from; `training.matcher.store` has the shapes."""

    @property
    def frames(self) -> NDArray[np.generic]: ...
    @property
    def normals(self) -> NDArray[np.generic]: ...
    @property
    def through(self) -> NDArray[np.generic]: ...
    @property
    def cloth(self) -> NDArray[np.generic]: ...
    @property
    def photos(self) -> Sequence[PhotoRow]: ...
    @property
    def masks(self) -> Sequence[MaskRow]: ...


class ViewMaker:
    """Draws views. `use`: ingredients of the NIR family."""

    def __init__(self, store: Photos, use: frozenset[Ingredient] = EVERYTHING) -> None:
        self._store, self._use = store, use

    def view(self, wanted: Wanted, rng: np.random.Generator, *, extent: float = 1.0) -> Pixels:
        """uint8 [112, 112, 3]. `extent`: how far the crop is moved; 1 is training's."""
        matrix, flip = _placement(rng, extent), rng.random() < 0.5
        store, photo = self._store, wanted.photo
        pixels = _moved(store.frames[photo], matrix, flip)
        through: Floats | None = None
        cloth: Floats | None = None
        if wanted.mask is not None:
            through = _moved(store.through[wanted.mask], matrix, flip).astype(np.float32) / 255.0
            cloth = (_moved(store.cloth[wanted.mask], matrix, flip).astype(np.float32) / 128.0) ** 2
        if store.photos[photo].spectrum is Spectrum.NIR:
            return _captured(pixels, rng)
        if not wanted.nir:
            return self._visible(pixels, through, cloth, wanted, rng)
        normals = _normals(store.normals[photo], matrix, flip)
        made = scene(pixels, normals, rng, self._use)
        light = made.light
        if through is not None and cloth is not None:
            grey = cloth.mean(axis=2)
            level = fabric(rng, self._use) * 0.5
            pattern = np.maximum(grey, 0.0) ** np.float32(rng.uniform(0.6, 1.2))
            light = light * through + pattern * np.float32(level) * np.clip(made.lit, 0.2, 3.0)
        elif store.photos[photo].masked and Ingredient.FABRIC in self._use and rng.random() < 0.5:
            light = light * _lower(len(light), rng)
        light = np.asarray(light, np.float32)
        if Ingredient.LIGHT in self._use and rng.random() < 0.35:
            glints(light, _eyes(store.photos[photo].landmarks, matrix, flip), rng)
        return any_camera(light, rng) if Ingredient.CAMERA in self._use else plain_camera(light, rng)

    def _visible(
        self,
        pixels: Pixels,
        through: Floats | None,
        cloth: Floats | None,
        wanted: Wanted,
        rng: np.random.Generator,
    ) -> Pixels:
        if through is not None and cloth is not None and wanted.mask is not None:
            linear = to_linear(pixels)
            skin = float(np.median(linear[30:60:2, 30:82:2]))
            colour = _colour(self._store.masks[wanted.mask].kind, rng)
            light = linear * through[:, :, None] + cloth * (colour * np.float32(max(skin, 0.02) / SKIN))
            pixels = to_pixels(np.asarray(light, np.float32))
        return toned(pixels, rng, grey=0.15, lit=0.3)


def _captured(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A view that is NIR already: half of the time by another camera, else in another tone."""
    if rng.random() < 0.5:
        return any_camera(np.asarray(to_linear(pixels).mean(axis=2), np.float32), rng)
    return toned(pixels, rng, grey=0.0, lit=0.3)


def clean(frame: Pixels, rng: np.random.Generator, *, extent: float) -> Pixels:
    """The crop of a frame, moved a little: uint8 [112, 112, 3]."""
    return _moved(frame, _placement(rng, extent), rng.random() < 0.5)


def trunk_input(crops: Pixels, columns: tuple[int, int], size: tuple[int, int]) -> Floats:
    """uint8 [n, 112, 112, 3] -> float32 [n, 3, h, w], 0 to 255, cut and resized as `faces.preprocess`."""
    first, last = columns
    cut = [cv2.resize(crop[:, first:last], size[::-1], interpolation=cv2.INTER_LINEAR) for crop in crops]
    return np.stack(cut).transpose(0, 3, 1, 2).astype(np.float32)


def _placement(rng: np.random.Generator, extent: float = 1.0) -> NDArray[np.float64]:
    """[2, 3] from the frame to the crop."""
    turn = float(np.clip(rng.normal(0, 0.5), -1, 1)) * TURN * extent
    scale = 1.0 + float(np.clip(rng.normal(0, 0.5), -1, 1)) * SCALE * extent
    matrix = cv2.getRotationMatrix2D((FRAME_PX / 2, FRAME_PX / 2), turn, scale)
    matrix[:, 2] += np.clip(rng.normal(0, 0.5, 2), -1, 1) * SHIFT * extent - BORDER_PX
    return np.asarray(matrix, np.float64)


def _moved(frame: NDArray[np.generic], matrix: NDArray[np.float64], flip: bool) -> Pixels:
    crop = cv2.warpAffine(np.asarray(frame), matrix, (CROP_PX, CROP_PX), borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(crop[:, ::-1]) if flip else np.asarray(crop, np.uint8)


def _normals(stored: NDArray[np.generic], matrix: NDArray[np.float64], flip: bool) -> Floats:
    """The normal map under the crop, float32 [112, 112, 4]; a turned face's normals are left unturned."""
    factor = FRAME_PX / CELLS
    small = matrix.copy()
    small[:, :2] *= factor
    values = np.asarray(stored).astype(np.float32) / 127.0
    map_ = cv2.warpAffine(values, small, (CROP_PX, CROP_PX), borderMode=cv2.BORDER_CONSTANT)
    if flip:
        map_ = np.ascontiguousarray(map_[:, ::-1])
        map_[:, :, 0] *= -1.0
    return np.asarray(map_, np.float32)


def _eyes(landmarks: tuple[tuple[float, float], ...], matrix: NDArray[np.float64], flip: bool) -> Floats:
    moved = np.array(landmarks[:2]) @ matrix[:, :2].T + matrix[:, 2]
    if flip:
        moved[:, 0] = CROP_PX - 1 - moved[:, 0]
    return moved.astype(np.float32)


def _lower(side: int, rng: np.random.Generator) -> Floats:
    """A real mask's cloth, brighter or darker at 850 nm than in visible light: a factor [s, s]."""
    rows = np.arange(side, dtype=np.float32)[:, None]
    columns = np.abs(np.arange(side, dtype=np.float32)[None, :] - side / 2)
    edge = rng.uniform(62.0, 76.0) + rng.uniform(-0.1, 0.25) * columns
    share = 0.5 + 0.5 * np.tanh((rows - edge) / rng.uniform(1.0, 4.0))
    return np.asarray(np.exp(rng.uniform(-0.8, 2.0) * share), np.float32)


def _colour(kind: str, rng: np.random.Generator) -> Floats:
    """Reflectance of cloth in visible light, blue-green-red; photos of masks keep their own colours."""
    draw = rng.random()
    if kind in ("transplant", "flat"):
        return np.full(3, rng.uniform(0.04, 0.9) if draw < 0.7 else 0.45, np.float32)
    if draw < 0.28:
        return np.full(3, rng.uniform(0.6, 0.92), np.float32)
    if draw < 0.48:
        return np.full(3, rng.uniform(0.02, 0.1), np.float32)
    if draw < 0.7:
        red = rng.uniform(0.2, 0.5)
        return np.array(
            [min(0.9, red + rng.uniform(0.2, 0.4)), red + rng.uniform(0.05, 0.2), red], np.float32
        )
    return rng.uniform(0.03, 0.85, 3).astype(np.float32)
