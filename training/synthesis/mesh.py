"""Fits a face mesh of 468 points in three dimensions to a photo, by MediaPipe's network.

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs"
(arXiv 1907.06724). x and y are pixels; z is in the same scale and **smaller is nearer** to the
camera, zero near the middle of the head. The projection is weak-perspective.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.types import Face, Image, Pixels
from training.networks.onnx_runner import session
from training.synthesis.assets import SynthesisError

Floats = NDArray[np.float32]

VERTICES = 468
TRIANGLES = 898
INPUT_PX = 192
# The network was trained on regions 1.5 times as wide as the face.
REGION = 1.5
# The presence output is a logit.
PRESENCE_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class MeshTopology:
    """The part of the mesh that does not depend on the person.

    `triangles`: int32 [898, 3], fronts outwards; `uv`: float32 [468, 2] in [0, 1], v
    grows upwards as in the OBJ file; `canonical`: float32 [468, 3], centimetres, y up, z towards
    the camera.
    """

    triangles: NDArray[np.int32]
    uv: Floats
    canonical: Floats

    def __post_init__(self) -> None:
        if self.triangles.shape != (TRIANGLES, 3) or self.uv.shape != (VERTICES, 2):
            raise ValueError(f"the mesh has {VERTICES} vertices and {TRIANGLES} triangles")
        if self.canonical.shape != (VERTICES, 3):
            raise ValueError(f"canonical is float32 [{VERTICES}, 3]")
        for part in (self.triangles, self.uv, self.canonical):
            part.flags.writeable = False


def load_topology(path: Path) -> MeshTopology:
    """Reads `canonical_face_model.obj`. Raises SynthesisError with the file's name and a remedy."""
    advice = "take the pinned canonical_face_model.obj (training.synthesis.assets)"
    points: list[list[float]] = []
    textures: list[list[float]] = []
    faces: list[list[list[int]]] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            kind, *fields = line.split() or ["#"]
            if kind == "v":
                points.append([float(value) for value in fields[:3]])
            elif kind == "vt":
                textures.append([float(value) for value in fields[:2]])
            elif kind == "f":
                faces.append([[int(index) - 1 for index in corner.split("/")[:2]] for corner in fields])
        corners = np.array(faces, np.int32)
        vertex, texture = corners[..., 0], corners[..., 1]
        uv = np.full((len(points), 2), np.nan, np.float32)
        uv[vertex.ravel()] = np.array(textures, np.float32)[texture.ravel()]
        if not np.isfinite(uv).all():
            raise ValueError("a vertex has no texture coordinate")
        canonical = np.array(points, np.float32)
        return MeshTopology(np.ascontiguousarray(vertex), uv, canonical)
    except (OSError, ValueError, IndexError) as problem:
        raise SynthesisError(f"{path.name} is no face model ({problem}): {advice}") from problem


@dataclass(frozen=True, slots=True, eq=False)
class FaceMesh:
    """One fitted face. `points`: float32 [468, 3]: x, y in pixels, z in the same scale, smaller nearer."""

    points: Floats

    def __post_init__(self) -> None:
        p = self.points
        if p.dtype != np.float32 or p.shape != (VERTICES, 3) or not np.isfinite(p).all():
            raise ValueError(f"a face mesh is finite float32 [{VERTICES}, 3], got {p.dtype} {p.shape}")
        p.flags.writeable = False

    def moved(self, matrix: NDArray[np.floating]) -> FaceMesh:
        """Returns the mesh after a similarity [2, 3] of the picture; z scales with the picture.

        Raises ValueError if the matrix is singular or not a similarity.
        """
        m = np.asarray(matrix, np.float64)
        if m.shape != (2, 3) or not np.isfinite(m).all():
            raise ValueError(f"a similarity is a finite [2, 3] matrix, got {m.shape}")
        scale = math.hypot(m[0, 0], m[1, 0])
        turn = m[:, :2]
        if scale < 1e-9 or not np.allclose(turn.T @ turn, scale**2 * np.eye(2), atol=1e-4 * scale**2):
            raise ValueError("the matrix is no similarity")
        flat = self.points[:, :2].astype(np.float64) @ turn.T + m[:, 2]
        moved = np.column_stack([flat, self.points[:, 2] * scale])
        return FaceMesh(moved.astype(np.float32))

    def normals(self, topology: MeshTopology) -> Floats:
        """Returns outward unit normals, float32 [468, 3]; z is negative where the skin faces the camera."""
        return vertex_normals(self.points, topology.triangles)


def vertex_normals(points: Floats, triangles: NDArray[np.int32]) -> Floats:
    """Returns area-weighted unit normals [n, 3] of a mesh; (0, 0, -1) for vertices without area."""
    corners = points[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((len(points), 3), np.float64)
    for axis in range(3):
        weight = np.repeat(cross[:, axis], 3)
        total[:, axis] = np.bincount(triangles.ravel(), weight, minlength=len(points))
    length = np.linalg.norm(total, axis=1, keepdims=True)
    safe = np.where(length > 1e-12, total / np.maximum(length, 1e-12), (0.0, 0.0, -1.0))
    return safe.astype(np.float32)


class MeshFitter:
    """Fits the mesh to a detected face. Raises SynthesisError for a network of another shape."""

    def __init__(self, model: Path, *, threads: int = 1) -> None:
        if not model.is_file():
            raise SynthesisError(f"{model.name} is not there: see training.synthesis.assets.find_assets")
        self._session = session(model, threads=threads)
        self._input = self._session.get_inputs()[0].name
        sizes = {output.name: output.shape[-1] for output in self._session.get_outputs()}
        self._points = next((name for name, size in sizes.items() if size == VERTICES * 3), None)
        self._presence = next((name for name, size in sizes.items() if size == 1), None)
        if self._points is None:
            raise SynthesisError(f"{model.name} gives no {VERTICES} points: take the pinned network")

    def fit(self, image: Image, face: Face) -> FaceMesh | None:
        """Returns the mesh in pixels of the image, or None if the network sees no face in the box."""
        to_region = _region(face)
        # Pixels beyond the border repeat the edge, because a black frame pulls the fit inwards.
        region = cv2.warpAffine(
            image.pixels,
            to_region,
            (INPUT_PX, INPUT_PX),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        outputs = self._run(region)
        if outputs.present < PRESENCE_THRESHOLD:
            return None
        back = cv2.invertAffineTransform(to_region)
        return FaceMesh(outputs.points).moved(back)

    def _run(self, region: Pixels) -> _Fit:
        tensor = np.ascontiguousarray(region[:, :, ::-1].transpose(2, 0, 1)[None], np.float32) / 255.0
        names = [name for name in (self._points, self._presence) if name is not None]
        values = dict(zip(names, self._session.run(names, {self._input: tensor}), strict=True))
        points = np.array(values[self._points or ""], np.float32).reshape(VERTICES, 3)
        if self._presence is None:
            return _Fit(points, 1.0)
        logit = float(np.clip(values[self._presence].ravel()[0], -50.0, 50.0))
        return _Fit(points, 1.0 / (1.0 + math.exp(-logit)))


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    points: Floats
    present: float


def _region(face: Face) -> NDArray[np.float64]:
    """Returns the similarity [2, 3] from the image to the network's input: 1.5 times the box, eyes level."""
    (ax, ay), (bx, by) = face.landmarks[0], face.landmarks[1]
    roll = math.atan2(by - ay, bx - ax)
    box = face.box
    scale = INPUT_PX / (REGION * max(box.width, box.height))
    cos, sin = scale * math.cos(roll), scale * math.sin(roll)
    cx, cy = box.x + box.width / 2, box.y + box.height / 2
    half = INPUT_PX / 2
    return np.array([[cos, sin, half - cos * cx - sin * cy], [-sin, cos, half + sin * cx - cos * cy]])
