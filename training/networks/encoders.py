"""Whatever turns aligned crops into unit vectors: a checkpoint, a bundle, an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels, Spectrum
from training.data.records import DataSetError

Vectors = NDArray[np.float32]


class CropEncoder(Protocol):
    """An embedding network with its preprocessing."""

    @property
    def name(self) -> str:
        """For reports: what it is, without paths of the machine."""
        ...

    @property
    def alignment(self) -> str:
        """The template of `faces.align.ALIGNMENTS` that its crops are aligned to."""
        ...

    def embed(self, crops: Pixels, spectrum: Spectrum) -> Vectors:
        """uint8 [n, side, side, 3] blue-green-red, all of one spectrum -> unit float32 [n, dimension].

        The spectrum is known at test time; only an encoder with a statistic for each uses it.
        """
        ...


def load_encoder(path: Path, *, threads: int = 1) -> CropEncoder:
    """A bundle's directory, an ONNX file of the usual kind (see `OnnxInput`) or a `.pt` checkpoint.

    Raises DataSetError where it is none of them.
    """
    # Imported where needed: a checkpoint needs no ONNX Runtime, and an ONNX file needs no torch.
    if path.is_dir():
        from training.networks.onnx_encoders import BundleEncoder

        return BundleEncoder(path, threads=threads)
    if path.suffix == ".onnx":
        from training.networks.onnx_encoders import OnnxEncoder

        return OnnxEncoder(path, threads=threads)
    if path.suffix == ".pt":
        from training.networks.encoder import load_checkpoint_encoder

        return load_checkpoint_encoder(path)
    raise DataSetError(f"{path.name}: no bundle's directory, and neither an .onnx nor a .pt file")
