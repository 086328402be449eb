"""A small cache of painted faces and a small trunk: no network of others, no real photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from faces.bundle import EncoderSpec, FileRef, Normalisation
from faces.types import Pixels, Spectrum
from training.matcher.frames import FRAME, FRAME_PX
from training.matcher.mask_layers import Layer
from training.matcher.people import Part
from training.matcher.sources import RENDERED
from training.matcher.store import CELLS, PhotoRow, Store, StoreWriter
from training.networks.backbone import BackboneConfig
from training.networks.imported import ImportedNet
from training.networks.onnx_import import import_onnx

WIDTH = 16
POINTS = tuple((round(x, 2), round(y, 2)) for x, y in FRAME.points)


def painted(subject: int, photo: int) -> Pixels:
    """A frame [144, 144, 3]: a head whose colours, eyes and mouth belong to the subject."""
    rng = np.random.default_rng([subject, 1])
    frame = np.full((FRAME_PX, FRAME_PX, 3), 30 + 20 * (photo % 3), np.uint8)
    skin = [int(v) for v in rng.integers(90, 200, 3)]
    cv2.ellipse(frame, (72, 76), (44, 56), 0, 0, 360, skin, -1)
    for x, y in POINTS[:2]:
        cv2.circle(frame, (round(x), round(y)), int(rng.integers(3, 8)), (20, 20, 20), -1)
    cv2.ellipse(frame, (72, 108), (int(rng.integers(8, 20)), 5), 0, 0, 360, (40, 40, 140), -1)
    noise = np.random.default_rng([subject, photo]).normal(0, 6, frame.shape)
    return np.clip(frame + noise, 0, 255).astype(np.uint8)


def layer() -> Layer:
    """Cloth over the lower half."""
    through = np.full((FRAME_PX, FRAME_PX), 255, np.uint8)
    through[88:130, 30:114] = 0
    cloth = np.where(through[:, :, None] == 0, 128, 0).astype(np.uint8).repeat(3, axis=2)
    return Layer(through, cloth, "polygon", "wide")


def normals() -> np.ndarray:
    made = np.zeros((CELLS, CELLS, 4), np.int8)
    made[8:44, 12:36, 2], made[8:44, 12:36, 3] = -127, 127
    return made


def small_cache(root: Path, *, people: int = 8, photos: int = 3) -> Store:
    """People with several photos, as many with one, a real mask on the first two, one kept for thresholds."""
    with StoreWriter(root) as writer:
        for subject in range(2 * people):
            for photo in range(photos if subject < people else 1):
                _enter(writer, subject, photo, layers=[layer()])
            if subject < 2:
                _enter(writer, subject, 90, masked=True)
        _enter(writer, 500, 0, part="thresholds")
        writer.close()
    return Store(root)


def add_rendered(root: Path, *, people: int = 4, whole: bool = True) -> None:
    """Adds subjects with two visible and two NIR photos; `whole=False` stops before the list is written."""
    with StoreWriter(root, more=True) as writer:
        for subject in range(600, 600 + people):
            for photo in range(4):
                spectrum = Spectrum.VIS if photo < 2 else Spectrum.NIR
                _enter(writer, subject, photo, of_set=RENDERED, spectrum=spectrum)
        if whole:
            writer.close()


def _enter(
    writer: StoreWriter,
    subject: int,
    photo: int,
    *,
    layers: list[Layer] | None = None,
    masked: bool = False,
    part: Part = "train",
    of_set: str = "painted",
    spectrum: Spectrum = Spectrum.VIS,
) -> None:
    row = PhotoRow(
        source=f"{subject}/{photo}",
        subject=f"s{subject}",
        of_set=of_set,
        spectrum=spectrum,
        group="",
        terms="CC0" if subject % 2 else "NC",
        part=part,
        masked=masked,
        landmarks=POINTS,
    )
    writer.add(row, painted(subject, photo), normals(), layers or [])


def small_trunk(folder: Path) -> tuple[ImportedNet, BackboneConfig]:
    """[b, 3, 32, 32] -> [b, 16]: two convolutions at random weights."""
    chance = np.random.default_rng(7)
    held = {
        "w1": chance.normal(0, 0.02, (8, 3, 5, 5)),
        "b1": np.zeros(8),
        "w2": chance.normal(0, 0.2, (WIDTH, 8, 3, 3)),
        "b2": np.zeros(WIDTH),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], strides=[2, 2], pads=[2, 2, 2, 2]),
        helper.make_node("LeakyRelu", ["c1"], ["r1"], alpha=0.2),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["c2"], ["r2"], alpha=0.2),
        helper.make_node("GlobalAveragePool", ["r2"], ["y"]),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 32, 32])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in held.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "small", [image], [made], weights),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    path = folder / "small.onnx"
    onnx.save(model, path)
    ref = FileRef(path=path.name, sha256="0" * 64, bytes=path.stat().st_size)
    spec = EncoderSpec(
        probe=ref,
        reference=ref,
        alignment="arcface-112",
        columns=(8, 104),
        input_px=(32, 32),
        normalisation=Normalisation(order="bgr", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        dimension=WIDTH,
        metric="cosine",
    )
    torch.manual_seed(0)
    return import_onnx(path, spec)
