"""Choice of the faces of one image that a request is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from faces.types import Face, Image
from service.errors import InvalidParameter, MultipleFaces, NoFace

# Takes the image and all its faces, largest first; returns the chosen ones, at least one.
Choice = Callable[[Image, Sequence[Face]], Sequence[Face]]

SECOND_FACE_SHARE = 0.5
MIDDLE = 0.2


def largest_face(_image: Image, faces: Sequence[Face]) -> Sequence[Face]:
    """The largest face. Raises NoFace."""
    return _found(faces)[:1]


def every_face(max_faces: int) -> Choice:
    """A choice of all faces. It raises NoFace, and InvalidParameter for more than `max_faces`."""

    def choose(_image: Image, faces: Sequence[Face]) -> Sequence[Face]:
        if len(_found(faces)) > max_faces:
            raise InvalidParameter(
                f"the image shows {len(faces)} faces, `faces=all` describes {max_faces} at most:"
                " cut it into parts"
            )
        return faces

    return choose


def subject_face(image: Image, faces: Sequence[Face]) -> Sequence[Face]:
    """The largest face, if it is clear that it is meant. Raises NoFace, MultipleFaces.

    A second face of at least half its area makes that unclear, unless only the largest one stands in
    the middle: portraits are framed, and bystanders behind the subject are often as large.
    """
    largest, *others = _found(faces)
    rivals = [face for face in others if face.box.area >= SECOND_FACE_SHARE * largest.box.area]
    if not rivals:
        return [largest]
    if _central(image, largest) and not any(_central(image, face) for face in rivals):
        return [largest]
    raise MultipleFaces("a second face is at least half as large as the largest")


def _found(faces: Sequence[Face]) -> Sequence[Face]:
    if not faces:
        raise NoFace("no face was found in the image")
    return faces


def _central(image: Image, face: Face) -> bool:
    """Whether the centre of a face lies within `MIDDLE` of the image's, as a share of each side."""
    box = face.box
    across = abs(box.x + box.width / 2 - image.width / 2) / image.width
    down = abs(box.y + box.height / 2 - image.height / 2) / image.height
    return max(across, down) <= MIDDLE
