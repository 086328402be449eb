"""Finds the largest face of a photo and aligns it."""

from __future__ import annotations

from dataclasses import dataclass

from faces.align import AlignError, align
from faces.image import DecodeLimits, decode
from faces.types import AlignedCrop, Face, Image, Pixels, Spectrum
from training.data.lfw import Photo
from training.networks.onnx_runner import BundleRunner

LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
ALIGNMENT = "arcface-112"
SIDE_PX = 112


@dataclass(frozen=True, slots=True, eq=False)
class FoundFace:
    """A photo with its largest face and that face's crop."""

    image: Image
    face: Face
    crop: AlignedCrop


def find_face(photo: Photo, detector: BundleRunner) -> FoundFace | None:
    """Returns None if the photo shows no face that can be aligned. Raises ImageError."""
    return largest_face(decode(photo.data, limits=LIMITS, spectrum=Spectrum.VIS), detector)


def largest_face(image: Image, detector: BundleRunner) -> FoundFace | None:
    """Returns None if the image shows no face that can be aligned."""
    faces = detector.faces(image)
    try:
        return FoundFace(image, faces[0], align(image, faces[0], ALIGNMENT)) if faces else None
    except AlignError:
        return None


def largest_crop(image: Image, detector: BundleRunner) -> Pixels | None:
    """Detects and aligns the largest face, as the service does with a probe: uint8 [112, 112, 3].

    Returns None if there is no face that can be aligned.
    """
    found = largest_face(image, detector)
    return None if found is None else found.crop.pixels
