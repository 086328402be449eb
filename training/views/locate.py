"""Chooses the subject's face in a picture and places its five landmarks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from faces.align import ALIGNMENTS
from faces.types import Box, Face, Image, Point
from training.data.loaded import Choice

# `detected`: by the detector; `eyes`: from the two eyes of the data set alone; `aligned`: a crop already.
How = Literal["detected", "eyes", "aligned"]
Detect = Callable[[Image], Sequence[Face]]

REFERENCE = ALIGNMENTS["arcface-112"]
# Brow to chin and ear to ear in the 112 px frame, about what a detector finds.
FACE_BOX = Box(16.0, 6.0, 80.0, 110.0)
# A detected eye may lie this far from the given one, in distances between the eyes.
EYE_TOLERANCE = 0.35


class NoFace(ValueError):
    """The picture shows no face that can be the subject's. The text says why."""


@dataclass(frozen=True, slots=True)
class LocatedFace:
    """The subject's face and how it was found."""

    face: Face
    how: How


def locate(
    image: Image,
    *,
    detect: Detect | None,
    eyes: tuple[Point, Point] | None = None,
    choice: Choice = "largest",
    aligned_to: str | None = None,
) -> LocatedFace:
    """Returns the subject's face. Raises NoFace if there is none.

    In an aligned crop (`aligned_to`: its template) the landmarks are the template's. If the data set gives
    `eyes`, the detected face with these eyes is chosen, or else a face with the template's proportions is
    placed on them. Otherwise `choice` decides among the detected faces.
    """
    if aligned_to is not None:
        return LocatedFace(_of_crop(image, aligned_to), "aligned")
    if eyes is not None and not all(_inside(image, eye) for eye in eyes):
        raise NoFace("the eyes of the data set lie outside the picture: mend or remove its eye file")
    found = detect(image) if detect is not None else ()
    if eyes is not None:
        matching = _with_eyes(found, eyes)
        return LocatedFace(matching, "detected") if matching else LocatedFace(face_on_eyes(eyes), "eyes")
    if not found:
        raise NoFace("the detector finds no face")
    return LocatedFace(_chosen(image, found, choice), "detected")


def _inside(image: Image, point: Point) -> bool:
    return 0 <= point[0] < image.width and 0 <= point[1] < image.height


def _of_crop(image: Image, aligned_to: str) -> Face:
    if image.width != image.height:
        raise NoFace(f"an aligned crop is square, this one is {image.width} x {image.height}")
    if aligned_to not in ALIGNMENTS:
        raise NoFace(f"{aligned_to} is no template: {', '.join(ALIGNMENTS)}")
    # Every template is the same one at another size.
    return _template_face(complex(image.width / REFERENCE.side_px), 0j)


def face_on_eyes(eyes: tuple[Point, Point]) -> Face:
    """Returns a face with the template's proportions on two eyes: to align it is the two-point similarity.

    Raises NoFace if the eyes are one point.
    """
    (ax, ay), (bx, by) = eyes
    (px, py), (qx, qy) = REFERENCE.points[:2]
    given, wanted = complex(bx - ax, by - ay), complex(qx - px, qy - py)
    if not given:
        raise NoFace("the two eyes of the data set are one point")
    factor = given / wanted
    shift = complex(ax, ay) - factor * complex(px, py)
    return _template_face(factor, shift)


def _template_face(factor: complex, shift: complex) -> Face:
    """Returns the 112 px template's face, turned and scaled by a complex factor, then shifted."""

    def moved(x: float, y: float) -> Point:
        point = factor * complex(x, y) + shift
        return point.real, point.imag

    first, second, nose, left, right = (moved(x, y) for x, y in REFERENCE.points)
    scale = abs(factor)
    cx, cy = moved(FACE_BOX.x + FACE_BOX.width / 2, FACE_BOX.y + FACE_BOX.height / 2)
    width, height = FACE_BOX.width * scale, FACE_BOX.height * scale
    box = Box(cx - width / 2, cy - height / 2, width, height)
    return Face(box, (first, second, nose, left, right), 0.0)


def _with_eyes(found: Sequence[Face], eyes: tuple[Point, Point]) -> Face | None:
    """Returns the face whose eyes are nearest to the given ones, if they are near enough."""
    distance = math.dist(*eyes)

    def miss(face: Face) -> float:
        return max(math.dist(face.landmarks[i], eyes[i]) for i in (0, 1))

    best = min(found, key=miss, default=None)
    return best if best is not None and miss(best) <= EYE_TOLERANCE * distance else None


def _chosen(image: Image, found: Sequence[Face], choice: Choice) -> Face:
    """`central`: the largest face that covers the middle of the picture, if there is one."""
    largest = max(found, key=lambda face: face.box.area)
    if choice == "largest":
        return largest
    x, y = image.width / 2, image.height / 2
    over = [f for f in found if 0 <= x - f.box.x <= f.box.width and 0 <= y - f.box.y <= f.box.height]
    return max(over, key=lambda face: face.box.area, default=largest)
