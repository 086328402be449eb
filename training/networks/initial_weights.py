"""The network that a training starts from: an encoder's checkpoint or a bundle's embedder."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from faces.bundle import MANIFEST_NAME
from training.data.digests import file_digest
from training.networks.backbone import BackboneConfig
from training.networks.checkpoint import load_start
from training.networks.onnx_import import import_bundle


def load_initial(start: Path, *, dimension: int) -> tuple[nn.Module, BackboneConfig]:
    """The network of a checkpoint, or of a bundle's folder with at least `dimension` dimensions.

    Raises DataSetError.
    """
    if start.is_dir():
        return import_bundle(start, dimension=dimension)
    return load_start(start)


def initial_digest(start: Path) -> str:
    """SHA-256 of the checkpoint, or of the bundle's manifest, which holds the digests of its files.

    Raises DataSetError.
    """
    return file_digest(start / MANIFEST_NAME if start.is_dir() else start)
