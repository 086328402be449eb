"""Choice of the faces of one image that a request is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from faces.types import Face, Image
from service.errors import InvalidParameter, MultipleFaces, NoFace

# Takes the image and all its faces, largest first; returns the chosen ones, at least one.
Choice = Callable[[Image, Sequence[Face]], Sequence[Face]]

SECOND_FACE_SHARE = 0.5
MIDDLE = 0.2


def meant(faces: Sequence[Face]) -> Face:
    """The face that a request is about: the one of the largest `Face.weight`, area times probability.

    A large detection of a low score loses against a smaller one of a high score. Raises NoFace.
    """
    return max(_found(faces), key=lambda face: face.weight)


def meant_face(_image: Image, faces: Sequence[Face]) -> Sequence[Face]:
    """The face that is meant. Raises NoFace."""
    return [meant(faces)]


def every_face(max_faces: int, most: int | None = None) -> Choice:
    """A choice of all faces, or of the `most` largest. It raises NoFace, and InvalidParameter where these are
    more than `max_faces`."""

    def choose(_image: Image, faces: Sequence[Face]) -> Sequence[Face]:
        faces = _found(faces)[:most]
        if len(faces) > max_faces:
            raise InvalidParameter(
                f"the image shows {len(faces)} faces, and {max_faces} at most are described:"
                " cut it into parts"
            )
        return faces

    return choose


def subject_face(image: Image, faces: Sequence[Face]) -> Sequence[Face]:
    """The face that is meant, if that is clear. Raises NoFace, MultipleFaces.

    A second face of at least half its weight makes that unclear, unless only the meant one stands in
    the middle: portraits are framed, and bystanders behind the subject are often as large.
    """
    chosen = meant(faces)
    rivals = [
        face for face in faces if face is not chosen and face.weight >= SECOND_FACE_SHARE * chosen.weight
    ]
    if not rivals:
        return [chosen]
    if _central(image, chosen) and not any(_central(image, face) for face in rivals):
        return [chosen]
    raise MultipleFaces(
        "a second face is about as large and as sure as the first: send a picture of one person, or"
        " raise `min_detection_score` if there is only one"
    )


def _found(faces: Sequence[Face]) -> Sequence[Face]:
    if not faces:
        raise NoFace(
            "no face was found in the image: send one where the face is larger or better lit; if"
            " `faces_below_score` counts it, a lower `min_detection_score` takes it"
        )
    return faces


def _central(image: Image, face: Face) -> bool:
    """Whether the centre of a face lies within `MIDDLE` of the image's, as a share of each side."""
    box = face.box
    across = abs(box.x + box.width / 2 - image.width / 2) / image.width
    down = abs(box.y + box.height / 2 - image.height / 2) / image.height
    return max(across, down) <= MIDDLE
