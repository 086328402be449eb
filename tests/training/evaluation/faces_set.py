"""A small prepared set whose subjects are patterns of grey blocks, and networks that read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from faces.rates.scores import Vectors
from faces.types import Pixels, Spectrum
from training.data.prepared import PreparedSet, Refused, Row, SetInfo
from training.data.set_writer import SetWriter

SIDE_PX = 16
BLOCKS = 4
MASKS = ("wide-high-0.92", "drawn round/low/0.33", "KN95_white")


class BlockEncoder:
    """Block means of a crop, centred: the same patterns as the networks below, in numpy."""

    name = "blocks"
    alignment = "arcface-112"

    def __init__(self) -> None:
        self.seen: list[Spectrum] = []

    def embed(self, crops: Pixels, spectrum: Spectrum) -> Vectors:
        self.seen.append(spectrum)
        size = SIDE_PX // BLOCKS
        grey = crops.astype(np.float64).mean(axis=3)
        rows = grey.reshape(len(crops), BLOCKS, size, BLOCKS, size).mean(axis=(2, 4)).reshape(len(crops), -1)
        rows -= rows.mean(axis=1, keepdims=True)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def crop(subject: int, *, noise: float, masked: bool, rng: np.random.Generator) -> Pixels:
    """The subject's blocks with noise; a mask is a flat lower part."""
    blocks = np.random.default_rng(1000 + subject).uniform(40, 215, (BLOCKS, BLOCKS))
    blocks = blocks + noise * rng.standard_normal((BLOCKS, BLOCKS))
    if masked:
        blocks[BLOCKS // 2 :] = 128
    size = SIDE_PX // BLOCKS
    grey = np.repeat(np.repeat(blocks, size, axis=0), size, axis=1)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def make_set(
    root: Path,
    *,
    subjects: int = 12,
    noise: float = 20.0,
    gallery_masked: bool = True,
    refused: Sequence[Refused] = (),
    skip: Callable[[Row], bool] = lambda row: False,
) -> PreparedSet:
    """References and two NIR probe photos of each subject, masked and unmasked."""
    writer = SetWriter(
        root,
        SetInfo(
            name="blocks",
            alignment="arcface-112",
            side_px=SIDE_PX,
            made_by="a test",
            synthetic="<blocks> & noise",
        ),
    )
    rng = np.random.default_rng(7)

    def add(row: Row, subject: int) -> None:
        pixels = crop(subject, noise=noise, masked=row.masked, rng=rng)
        if not skip(row):
            writer.add(row, pixels)

    for i in range(subjects):
        name = f"s{i:03d}"
        for masked in (False, True) if gallery_masked else (False,):
            add(
                Row(
                    source=f"{name}/vis.png",
                    subject=name,
                    spectrum=Spectrum.VIS,
                    masked=masked,
                    split="test",
                    role="gallery",
                    mask="wide-low-0.50" if masked else None,
                ),
                i,
            )
        for photo in range(2):
            for masked in (False, True):
                add(
                    Row(
                        source=f"{name}/nir{photo}.png",
                        subject=name,
                        spectrum=Spectrum.NIR,
                        masked=masked,
                        split="test",
                        role="probe",
                        mask=MASKS[(i + photo) % len(MASKS)] if masked else None,
                        generator="a generator",
                    ),
                    i,
                )
    for lost in refused:
        writer.refuse(lost)
    return writer.close()


def lost(source: str, spectrum: Spectrum, *, role: str = "probe", masked: bool = False) -> Refused:
    return Refused.model_validate(
        {
            "source": source,
            "subject": source.split("/")[0],
            "spectrum": spectrum,
            "masked": masked,
            "code": "no_face",
            "detail": "no face found",
            "split": "test",
            "role": role,
        }
    )


def write_network(
    path: Path, *, side_px: int | None = SIDE_PX, batch: int | None = None, weights: NDArray[np.float32]
) -> None:
    """ONNX: image [batch, 3, side, side] -> block means of each channel -> `weights` [48, d]."""
    size = SIDE_PX // BLOCKS
    side: int | str = side_px or "side"
    graph = helper.make_graph(
        [
            helper.make_node(
                "AveragePool", ["image"], ["p"], kernel_shape=[size, size], strides=[size, size]
            ),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("MatMul", ["f", "w"], ["embedding"]),
        ],
        "blocks",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch or "batch", 3, side, side])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch or "batch", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def centring() -> NDArray[np.float32]:
    """[48, 16]: the mean over the channels of each block, less the mean over the blocks."""
    blocks = BLOCKS**2
    average = np.tile(np.eye(blocks), (3, 1)) / 3
    return (average @ (np.eye(blocks) - 1 / blocks)).astype(np.float32)
