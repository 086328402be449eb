"""Pictures that the detector is tried on: none of what training may see.

LFW's test (or validation) identities, with the held-out family of masks and the test generator of
pseudo-NIR. The labels are those of the clean photo; the first face's landmarks are the mesh's, which owes
nothing to either detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from faces.types import Box, Face, Image, Spectrum
from training.data.lfw import Photo, Split, read_lfw
from training.detector.collect import Darkroom, Source
from training.detector.pictures import Known, Picture
from training.synthesis.mesh import MeshFitter
from training.synthesis.regions import EYE_CONTOURS

NOSE_TIP, MOUTH = 1, (61, 291)


def trial_photos(tar: Path, split: Split, count: int, *, seed: int = 0) -> list[Photo]:
    """The first photo of `count` identities of chance, always the same ones. Raises ValueError."""
    if split is Split.TRAIN:
        raise ValueError("a detector is not tried on what it was trained with")
    identities = read_lfw(tar, frozenset({split}))
    order = np.random.default_rng(seed).permutation(len(identities))
    return [identities[i].photos[0] for i in order[:count]]


def five_of(points: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> list[tuple[float, float]]:
    """Eyes, nose tip and mouth corners of a mesh [468, 3], as in `faces.types.Face`."""
    eyes = [points[list(contour), :2].mean(axis=0) for contour in EYE_CONTOURS]
    rest = [points[i, :2] for i in (NOSE_TIP, *MOUTH)]
    return [(float(x), float(y)) for x, y in (*eyes, *rest)]


class TrialRoom:
    """Makes trial pictures with a darkroom of the held-out family."""

    def __init__(self, room: Darkroom, fitter: MeshFitter) -> None:
        self._room, self._fitter = room, fitter

    def views(self, photo: Photo) -> Sequence[Picture]:
        """A photo in every condition; nothing where the reference detector or the mesh finds no face."""
        made = self._room.bare(photo, viewed=True)
        return [first for one in made if (first := self._with_mesh(one, made[0])) is not None]

    def _with_mesh(self, picture: Picture, clean: Picture) -> Picture | None:
        """The largest face first, with landmarks of the mesh on the clean photo."""
        faces = sorted(picture.faces, key=lambda face: -face.box[2] * face.box[3])
        first = max(clean.faces, key=lambda face: face.box[2] * face.box[3])
        mesh = self._fitter.fit(Image(clean.pixels, Spectrum.VIS), _face(first))
        if mesh is None or not faces[0].sure:
            return None
        taught = faces[0].model_copy(update={"landmarks": tuple(five_of(mesh.points))})
        return picture.model_copy(update={"faces": (taught, *faces[1:])})


def _face(known: Known) -> Face:
    a, b, c, d, e = known.landmarks
    return Face(Box(*known.box), (a, b, c, d, e), 1.0)


def trial_sources(photos: Sequence[Photo], room: TrialRoom) -> list[Source]:
    return [partial(room.views, photo) for photo in photos]
