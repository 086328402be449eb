"""Makes pictures to evaluate the detector on: LFW's test or validation identities.

Test identities get the held-out family of masks and the test generator of pseudo-NIR. The labels are those
of the clean photo; the landmarks of the first face come from the mesh, which no detector had a part in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from faces.types import Box, Face, Image, Spectrum
from training.data.lfw import Photo, Split, read_lfw
from training.detector.collect import PictureMaker, Source
from training.detector.pictures import LabelledFace, Picture
from training.synthesis.mesh import MeshFitter
from training.synthesis.regions import EYE_CONTOURS

NOSE_TIP, MOUTH = 1, (61, 291)


def trial_photos(tar: Path, split: Split, count: int, *, seed: int = 0) -> list[Photo]:
    """Returns the first photo of `count` random identities, the same ones for the same seed.

    Raises ValueError for the training split.
    """
    if split is Split.TRAIN:
        raise ValueError("a detector is not tried on what it was trained with")
    identities = read_lfw(tar, frozenset({split}))
    order = np.random.default_rng(seed).permutation(len(identities))
    return [identities[i].photos[0] for i in order[:count]]


def mesh_landmarks(points: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> list[tuple[float, float]]:
    """Returns eyes, nose tip and mouth corners of a mesh [468, 3], as in `faces.types.Face`."""
    eyes = [points[list(contour), :2].mean(axis=0) for contour in EYE_CONTOURS]
    rest = [points[i, :2] for i in (NOSE_TIP, *MOUTH)]
    return [(float(x), float(y)) for x, y in (*eyes, *rest)]


class TrialPictureMaker:
    """Makes trial pictures, with landmarks of a fitted mesh."""

    def __init__(self, maker: PictureMaker, fitter: MeshFitter) -> None:
        self._maker, self._fitter = maker, fitter

    def views(self, photo: Photo) -> Sequence[Picture]:
        """Returns the photo in every condition, or nothing if the reference detector or the mesh finds
        no face."""
        made = self._maker.from_photo(photo, viewed=True)
        return [first for one in made if (first := self._with_mesh(one, made[0])) is not None]

    def _with_mesh(self, picture: Picture, clean: Picture) -> Picture | None:
        """Returns the picture with its largest face first, with landmarks of the mesh on the clean photo."""
        faces = sorted(picture.faces, key=lambda face: -face.box[2] * face.box[3])
        first = max(clean.faces, key=lambda face: face.box[2] * face.box[3])
        mesh = self._fitter.fit(Image(clean.pixels, Spectrum.VIS), _face(first))
        if mesh is None or not faces[0].sure:
            return None
        labelled = faces[0].model_copy(update={"landmarks": tuple(mesh_landmarks(mesh.points))})
        return picture.model_copy(update={"faces": (labelled, *faces[1:])})


def _face(known: LabelledFace) -> Face:
    a, b, c, d, e = known.landmarks
    return Face(Box(*known.box), (a, b, c, d, e), 1.0)


def trial_sources(photos: Sequence[Photo], maker: TrialPictureMaker) -> list[Source]:
    return [partial(maker.views, photo) for photo in photos]
