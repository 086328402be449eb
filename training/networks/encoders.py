"""Opens any encoder of aligned crops: a checkpoint, a bundle or an ONNX file."""

from __future__ import annotations

from pathlib import Path

from training.data.records import DataSetError
from training.networks.crop_encoder import CropEncoder


def load_encoder(path: Path, *, threads: int = 1) -> CropEncoder:
    """The encoder of a bundle's directory, of an ONNX file (see `OnnxInput`) or of a `.pt` checkpoint.

    Raises DataSetError if the path is none of them.
    """
    # Imported on demand: a checkpoint needs no ONNX Runtime, and an ONNX file needs no torch.
    if path.is_dir():
        from training.networks.onnx_encoders import BundleEncoder

        return BundleEncoder(path, threads=threads)
    if path.suffix == ".onnx":
        from training.networks.onnx_encoders import OnnxEncoder

        return OnnxEncoder(path, threads=threads)
    if path.suffix == ".pt":
        from training.networks.torch_encoder import load_checkpoint_encoder

        return load_checkpoint_encoder(path)
    raise DataSetError(f"{path.name}: no bundle's directory, and neither an .onnx nor a .pt file")
