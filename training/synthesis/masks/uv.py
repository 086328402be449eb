"""Equation (4) of the paper, literally: masks in the texture map of the face (docs/hsst.md, section 6).

From the fitted mesh come the texture map T_I of a picture I and its position map P_I. The region that the
mask's texture T_M covers is removed from T_I, T_M is added, and the sum is drawn back at the positions P_I:

    T_MI = T_M + T_I without the region of T_M                                                  (4)

Where the paper fits PRNet, whose maps have 256 px, this fits the 468-point mesh. As in the paper, the whole
face is drawn anew from its texture, a mask ends with the face at the jaw, and it has the colours of its
template, without the light of the picture. `MaskPainter` does each of these otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthesis.masks.designs import MaskDesign
from training.synthesis.masks.outline import RADIUS_CM
from training.synthesis.masks.paint import WIDTHS_PX, Texture, paint
from training.synthesis.masks.raster import FAR, fill
from training.synthesis.masks.surface import AXIS_Z_CM
from training.synthesis.masks.templates import TemplateSet, chosen_template
from training.synthesis.mesh import FaceMesh, MeshTopology

Floats = NDArray[np.float32]

# As large as PRNet's maps.
SIDE_PX = 256
# A texel's centre is a whole number, and the map keeps this distance from its border.
BORDER_PX = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class MaskTexture:
    """T_M. `light`: float32 [s, s, 3], 0 outside the mask; `region`: [s, s], 1 where the mask is, 0 where
    the face is, between at the mask's edge."""

    light: Floats
    region: Floats


class UvMasker:
    """Puts masks on faces by their texture maps. Not thread-safe."""

    def __init__(self, topology: MeshTopology, templates: TemplateSet | None = None) -> None:
        self._triangles, self._templates = topology.triangles, templates
        inside = SIDE_PX - 1 - 2 * BORDER_PX
        # v grows upwards, rows grow downwards.
        across, down = topology.uv[:, 0] * inside, (1.0 - topology.uv[:, 1]) * inside
        flat = np.stack([across + BORDER_PX, down + BORDER_PX], axis=1)
        self._texels = np.ascontiguousarray(flat, np.float32)
        canonical = self._over_map(topology.canonical)
        known = canonical[:, :, 3] > 0
        # Texels outside the face repeat the nearest one inside, so that its rim mixes with no void.
        self._nearest = _nearest(known)
        x, y, z = (canonical[:, :, i][self._nearest] for i in range(3))
        angle = np.arctan2(x, z - AXIS_Z_CM)
        self._plane = np.stack([angle * RADIUS_CM, y], axis=2).reshape(-1, 2).astype(np.float32)

    def position_map(self, mesh: FaceMesh) -> Floats:
        """P_I: where each texel of the face is, float32 [s, s, 3], in pixels of the picture."""
        found = self._over_map(mesh.points)[:, :, :3]
        return np.ascontiguousarray(found[self._nearest])

    def texture_map(self, linear: Floats, positions: Floats) -> Floats:
        """T_I: the picture's light at these positions, float32 [s, s, 3]."""
        x, y = (np.ascontiguousarray(positions[:, :, i]) for i in range(2))
        found = cv2.remap(linear, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(found, np.float32)

    def mask_texture(self, design: MaskDesign) -> MaskTexture:
        """T_M of a design. Raises KeyError for an unknown template."""
        template = chosen_template(design, self._templates)
        texels = _looked_up(paint(design, template, WIDTHS_PX[-1]), self._plane)
        region = texels[:, :, 3]
        return MaskTexture(texels[:, :, :3] * region[:, :, None], region)

    def draw_back(self, linear: Floats, texture: Floats, mesh: FaceMesh) -> Floats:
        """I_M: a copy of the picture whose face is drawn from the texture [s, s, 3]."""
        size = linear.shape[:2]
        depth = np.full(size, FAR, np.float32)
        at = np.full((*size, 2), -1.0, np.float32)
        fill(mesh.points, self._texels, self._triangles, depth, at)
        u, v = (np.ascontiguousarray(at[:, :, i]) for i in range(2))
        drawn = cv2.remap(texture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        made: Floats = np.where((depth < FAR)[:, :, None], drawn, linear).astype(np.float32)
        return made

    def apply(self, linear: Floats, mesh: FaceMesh, design: MaskDesign) -> Floats:
        """Returns a copy of the picture with the mask on, as `MaskPainter.apply` does.

        `linear`: linear light float32 [h, w, 3], blue-green-red; `mesh`: in pixels of that picture.
        Raises KeyError for an unknown template.
        """
        mask = self.mask_texture(design)
        texture = self.texture_map(linear, self.position_map(mesh))
        return self.draw_back(linear, masked_texture(texture, mask), mesh)

    def _over_map(self, values: Floats) -> Floats:
        """Interpolates values [468, k] over the map: [s, s, k + 1]; the last is 1 on the face, else 0."""
        flat = np.column_stack([self._texels, np.zeros(len(self._texels), np.float32)])
        found = np.zeros((SIDE_PX, SIDE_PX, values.shape[1] + 1), np.float32)
        depth = np.full((SIDE_PX, SIDE_PX), FAR, np.float32)
        ones = np.ones((len(values), 1), np.float32)
        fill(np.ascontiguousarray(flat), np.hstack([values, ones]), self._triangles, depth, found)
        return found


def masked_texture(texture: Floats, mask: MaskTexture) -> Floats:
    """T_MI [s, s, 3], equation (4)."""
    remaining = texture * (1.0 - mask.region)[:, :, None]
    made: Floats = mask.light + remaining
    return made


def _nearest(known: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The row and column [s, s] of the nearest known texel, which is a known texel itself."""
    unknown = np.where(known, 0, 1).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(
        unknown, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, columns = np.nonzero(known)
    row_of, column_of = (np.zeros(int(labels.max()) + 1, np.intp) for _ in range(2))
    row_of[labels[rows, columns]], column_of[labels[rows, columns]] = rows, columns
    return row_of[labels], column_of[labels]


def _looked_up(texture: Texture, plane: Floats) -> Floats:
    """Albedo and coverage [s, s, 4] at points [s * s, 2] of the plane; 0 outside the texture."""
    at = texture.at(plane).reshape(SIDE_PX, SIDE_PX, 2)
    u, v = (np.ascontiguousarray(at[:, :, i]) for i in range(2))
    texels = np.ascontiguousarray(texture.texels[:, :, :4])
    found = cv2.remap(texels, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(found, np.float32)
