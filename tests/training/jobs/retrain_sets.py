"""A prepared set of synthetic crops, large enough to calibrate on and small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from faces.types import Pixels, Spectrum
from training.data.prepared import PreparedSet, Role, Row, SetInfo, Split
from training.data.set_writer import SetWriter

SIDE = 112


def pattern(subject: int, view: int, *, grey: bool) -> Pixels:
    """Blobs that belong to the subject, with a little noise of the view: a stand-in for a face."""
    own = np.random.default_rng([7, subject]).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    blobs = cv2.resize(own, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    noise = np.random.default_rng([8, subject, view]).normal(0, 12, (SIDE, SIDE, 3)).astype(np.int16)
    pixels = np.clip(blobs + noise, 0, 255).astype(np.uint8)
    if grey:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    return np.asarray(pixels, np.uint8)


def write_set(root: Path, *, train: int = 12, validation: int = 80, vis_photos: int = 2) -> PreparedSet:
    """`vis_photos` of each subject in colour, two NIR ones in grey, one of those masked (half is flat)."""
    info = SetInfo(
        name="patterns", alignment="arcface-112", side_px=SIDE, made_by="a test", synthetic="patterns"
    )
    writer = SetWriter(root, info)
    parts: tuple[tuple[Split, range], ...] = (
        ("train", range(train)),
        ("validation", range(train, train + validation)),
    )
    for split, numbers in parts:
        for number in numbers:
            vis, nir = [(Spectrum.VIS, False)] * vis_photos, [(Spectrum.NIR, False), (Spectrum.NIR, True)]
            for view, (spectrum, masked) in enumerate(vis + nir):
                pixels = pattern(number, view, grey=spectrum is Spectrum.NIR)
                if masked:
                    pixels[SIDE * 6 // 10 :] = 128
                role: Role = "none"
                if split == "validation":
                    role = "probe" if spectrum is Spectrum.NIR else "gallery"
                row = Row(
                    source=f"{number}/{view}",
                    subject=f"p{number}",
                    spectrum=spectrum,
                    masked=masked,
                    split=split,
                    role=role,
                    mask="flat" if masked else None,
                )
                writer.add(row, pixels)
    return writer.close()


def request_for(prepared_set: Path, *, trunk: Path, base: Path, **changed: Any) -> dict[str, Any]:
    """What the service writes for a short run."""
    return {
        "dataset": "patterns",
        "preset": "hsst",
        "iterations": 4,
        "epochs": None,
        "minutes": None,
        "seed": 0,
        "activate": "manual",
        "prepared": str(prepared_set),
        "facekit": None,
        "trunk": str(trunk),
        "base": str(base),
    } | changed


def write_request(directory: Path, request: dict[str, Any]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "request.json").write_text(json.dumps(request))
    (directory / "heartbeat").touch()
