"""LFW as a prepared set of aligned visible-light crops, the first step of everything else here."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
from rich.progress import track

from faces.align import AlignError, align
from faces.bundle import read
from faces.image import DecodeLimits, decode
from faces.types import AlignedCrop, Face, Image, Spectrum
from training.data.lfw import Photo, Split, read_lfw, split_of
from training.data.prepared import PreparedSet, Refused, Row, SetInfo, SetWriter
from training.networks.onnx_runner import BundleRunner

LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
ALIGNMENT = "arcface-112"
SIDE_PX = 112


@dataclass(frozen=True, slots=True, eq=False)
class FoundFace:
    """A photo with its largest face."""

    image: Image
    face: Face
    crop: AlignedCrop


def find(photo: Photo, runner: BundleRunner) -> FoundFace | None:
    """None where there is no face that can be aligned."""
    image = decode(photo.data, limits=LIMITS, spectrum=Spectrum.VIS)
    found = runner.faces(image)
    if not found:
        return None
    try:
        return FoundFace(image, found[0], align(image, found[0], ALIGNMENT))
    except AlignError:
        return None


def prepare_photos(tar: Path, bundle: Path, out: Path, *, threads: int = 2) -> PreparedSet:
    """Every LFW photo's largest face; the split is the fixed one by identity."""
    cv2.setNumThreads(1)
    runner = BundleRunner(read(bundle), threads=1)
    info = SetInfo(
        name="lfw-vis", alignment=ALIGNMENT, side_px=SIDE_PX, made_by="python -m training standin photos"
    )
    writer = SetWriter(out, info)
    photos = [(i.name, photo) for i in read_lfw(tar, frozenset(Split)) for photo in i.photos]
    with ThreadPoolExecutor(threads) as pool:
        work = pool.map(lambda item: find(item[1], runner), photos)
        for (name, photo), found in zip(photos, track(work, "aligning", total=len(photos)), strict=True):
            split = split_of(name).value
            if found is None:
                writer.refuse(
                    Refused(
                        source=photo.name,
                        subject=name,
                        spectrum=Spectrum.VIS,
                        code="no_face",
                        detail="no face found",
                        split=split,
                    )
                )
                continue
            row = Row(source=photo.name, subject=name, spectrum=Spectrum.VIS, split=split)
            writer.add(row, found.crop.pixels)
    return writer.close()
