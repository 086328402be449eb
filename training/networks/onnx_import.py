"""Imports an ONNX embedder as a network of this project with its configuration."""

from __future__ import annotations

from pathlib import Path

import torch

from faces.align import ALIGNMENTS
from faces.bundle import BundleError, EncoderSpec, read, verify
from training.data.records import DataSetError
from training.networks.backbone import BackboneConfig
from training.networks.graph import GraphError
from training.networks.imported import ImportedConfig, ImportedNet
from training.networks.onnx_graph import read_graph


def import_onnx(
    path: Path, spec: EncoderSpec, *, dimension: int | None = None, norms: bool = False
) -> tuple[ImportedNet, BackboneConfig]:
    """A trainable network that computes what the file does on crops that `spec` describes.

    `dimension`: None is the file's own; a greater one adds a matrix that keeps cosines. `norms` adds a
    normalisation layer after each convolution; call `fit_norms` before training.
    `save_encoder` stores both results. Raises DataSetError naming what cannot be imported.
    """
    alignment = ALIGNMENTS.get(spec.alignment)
    if alignment is None:
        raise DataSetError(f"no alignment {spec.alignment!r}: {', '.join(ALIGNMENTS)} are known")
    try:
        found = read_graph(path, output=spec.output)
        config = BackboneConfig(
            kind="imported",
            side_px=alignment.side_px,
            dimension=dimension or spec.dimension,
            alignment=spec.alignment,
            imported=ImportedConfig(
                graph=found.graph,
                columns=spec.columns,
                input_px=spec.input_px,
                normalisation=spec.normalisation,
                width=spec.dimension,
                norms=norms,
            ),
        )
        net = config.build()
        assert isinstance(net, ImportedNet)  # noqa: S101 - what this kind builds
        net.take(found.weights)
        with torch.no_grad():
            made = net.eval()(torch.zeros(2, 3, config.side_px, config.side_px))
    except (GraphError, RuntimeError, ValueError) as error:
        raise DataSetError(f"{path.name} cannot be imported: {error}") from error
    if made.shape != (2, config.dimension):
        raise DataSetError(
            f"{path.name} makes {tuple(made.shape)} of two images, not (2, {config.dimension})"
        )
    return net, config


def import_bundle(
    root: Path, *, dimension: int | None = None, norms: bool = False
) -> tuple[ImportedNet, BackboneConfig]:
    """A bundle's embedder for probes; see `import_onnx`. Raises DataSetError."""
    try:
        bundle = read(root)
        verify(bundle)
    except BundleError as error:
        raise DataSetError(f"{root.name}: {error}") from error
    spec = bundle.manifest.encoder
    return import_onnx(bundle.path(spec.probe), spec, dimension=dimension, norms=norms)
