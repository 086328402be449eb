"""Reads the ICT FaceKit light model: 26719 vertices, identity and expression offsets, named parts.

Units are about one centimetre; +x is the subject's left, +y up, +z out of the face.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Triangles: TypeAlias = NDArray[np.int32]

MODEL_FILE = "ict_facekit_light.npz"
INDEX_FILE = "vertex_indices.json"


class Part(IntEnum):
    """The material of a triangle."""

    SKIN = 0
    MOUTH = 1
    TEETH = 2
    EYE = 3


# Vertex ranges of the drawn parts. Not drawn: the inner eyeballs (the iris is painted on the outer one),
# and tear film, blend and occlusion shells and lash cards, which need transparency.
PARTS: tuple[tuple[Part, int, int], ...] = (
    (Part.SKIN, 0, 11248),
    (Part.MOUTH, 11248, 13294),
    (Part.SKIN, 13294, 14062),
    (Part.MOUTH, 14062, 17039),
    (Part.TEETH, 17039, 21451),
    (Part.EYE, 21451, 22221),
    (Part.EYE, 23021, 23791),
)


class FaceKitError(ValueError):
    """The model directory lacks a file, or a file is another model."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceModel:
    """The model's arrays. `neutral` float32 [v, 3]; `identity` float16 [100, v, 3];
    `expression` name -> float16 [v, 3]; `triangles` int32 [t, 3] with `parts` uint8 [t];
    `landmarks` int64 [68], the vertices of the usual 68 points."""

    neutral: Floats
    identity: NDArray[np.float16]
    expression: Mapping[str, NDArray[np.float16]]
    triangles: Triangles
    parts: NDArray[np.uint8]
    landmarks: NDArray[np.int64]

    def shape(self, coefficients: Sequence[float]) -> Floats:
        """Returns the vertices [v, 3] of an identity: neutral + sum of weighted offsets."""
        weights = np.asarray(coefficients, np.float32)
        if weights.shape != (len(self.identity),):
            raise ValueError(f"an identity has {len(self.identity)} coefficients")
        moved: Floats = self.neutral.copy()
        for weight, offset in zip(weights, self.identity, strict=True):
            moved += weight * offset.astype(np.float32)
        return moved

    def pose(self, shape: Floats, expression: Sequence[tuple[str, float]]) -> Floats:
        """Adds named expression offsets to `shape`. Raises KeyError for an unknown name."""
        moved: Floats = shape.copy()
        for name, weight in expression:
            moved += np.float32(weight) * self.expression[name].astype(np.float32)
        return moved


def load_model(directory: Path) -> FaceModel:
    """Reads the model. Raises FaceKitError if files are missing or do not fit."""
    for name in (MODEL_FILE, INDEX_FILE):
        if not (directory / name).is_file():
            raise FaceKitError(f"{directory} holds no {name}: give the ICT FaceKit directory")
    with np.load(directory / MODEL_FILE) as data:
        neutral = data["neutral"].astype(np.float32)
        quads = data["faces_v_vt"][..., 0].astype(np.int32)
        identity = data["identity_delta"]
        names = [str(name) for name in data["expression_names"]]
        expression = dict(zip(names, data["expression_delta"], strict=True))
    indices = json.loads((directory / INDEX_FILE).read_text())
    landmarks = np.asarray(indices["idx_to_landmark_verts"], np.int64)
    if len(neutral) != 26719 or landmarks.shape != (68,):
        raise FaceKitError("this is not the light ICT FaceKit model of 26719 vertices")
    kind = np.full(len(neutral), -1, np.int64)
    for part, start, end in PARTS:
        kind[start:end] = part
    drawn = quads[(kind[quads] >= 0).all(axis=1)]
    triangles = np.concatenate([drawn[:, [0, 1, 2]], drawn[:, [0, 2, 3]]])
    parts = kind[triangles[:, 0]].astype(np.uint8)
    return FaceModel(neutral, identity, expression, triangles, parts, landmarks)


def smooth_normals(points: Floats, triangles: Triangles) -> Floats:
    """Returns area-weighted unit normals [v, 3]; zero for vertices without a triangle."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    total = np.zeros((len(points), 3))
    for axis in range(3):
        for k in range(3):
            total[:, axis] += np.bincount(triangles[:, k], weights=face[:, axis], minlength=len(points))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    result: Floats = (total / np.maximum(length, 1e-12)).astype(np.float32)
    return result
