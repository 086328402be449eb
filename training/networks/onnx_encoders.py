"""Bundles and ONNX files as encoders of aligned crops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faces.align import ALIGNMENTS
from faces.bundle import BundleError, EncoderSpec, Normalisation, file_ref, read, verify
from faces.preprocess import encoder_input, unit_rows
from faces.routing import encoders_of, is_single
from faces.types import AlignedCrop, Condition, Pixels, Role, Spectrum
from training.data.records import DataSetError
from training.networks.crop_encoder import Vectors
from training.networks.onnx_runner import BatchRunner

CROPS_AT_ONCE = 64
# The input of most published face networks.
ARCFACE_INPUT = Normalisation(order="rgb", mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))


def _embed(net: BatchRunner, spec: EncoderSpec, crops: Pixels, spectrum: Spectrum) -> Vectors:
    if not len(crops):
        return np.empty((0, spec.dimension), np.float32)
    (left, _), (right, _) = ALIGNMENTS[spec.alignment].points[:2]
    done = []
    for start in range(0, len(crops), CROPS_AT_ONCE):
        aligned = (
            AlignedCrop(pixels[:], spec.alignment, right - left, spectrum)
            for pixels in crops[start : start + CROPS_AT_ONCE]
        )
        rows = net.run(np.stack([encoder_input(crop, spec) for crop in aligned]))
        done.append(unit_rows(rows.reshape(len(rows), -1)))
    return np.concatenate(done)


class BundleEncoder:
    """A bundle's embedding networks, as the service runs them."""

    def __init__(self, root: Path, *, threads: int = 1) -> None:
        """Raises DataSetError if the bundle is incomplete or damaged."""
        try:
            bundle = read(root)
            verify(bundle)
        except BundleError as error:
            raise DataSetError(f"{root.name}: {error}") from error
        manifest = bundle.manifest
        self.name = f"bundle {manifest.name} {manifest.version} ({manifest.space_id})"
        self.spec = manifest.encoder
        self.alignment = self.spec.alignment
        output = self.spec.output
        probe = BatchRunner(bundle.path(self.spec.probe), threads=threads, output=output)
        reference = probe
        if not is_single(self.spec):
            reference = BatchRunner(bundle.path(self.spec.reference), threads=threads, output=output)
        self._nets = {Role.PROBE: probe, Role.REFERENCE: reference}

    def embed(self, crops: Pixels, spectrum: Spectrum) -> Vectors:
        """uint8 [n, side, side, 3] -> unit float32 [n, dimension].

        VIS crops as references and NIR crops as probes; `embed_as` knows the other cases.
        """
        role = Role.REFERENCE if spectrum is Spectrum.VIS else Role.PROBE
        return self.embed_as(crops, role, Condition(spectrum, masked=False))

    def embed_as(self, crops: Pixels, role: Role, condition: Condition) -> Vectors:
        """Embeds uint8 [n, side, side, 3] of one condition by the network that the service takes for it."""
        (name,) = encoders_of(self.spec, role, condition)
        return _embed(self._nets[name], self.spec, crops, condition.spectrum)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxInput:
    """What an ONNX file does not state about its input.

    `side_px`: only if the file leaves the size open. `columns`: first and last + 1 of the crop's columns,
    if the network sees a part of it.
    """

    alignment: str = "arcface-112"
    side_px: int | None = None
    columns: tuple[int, int] | None = None
    normalisation: Normalisation = ARCFACE_INPUT


class OnnxEncoder:
    """Any ONNX embedding network of one image; its first output is the embedding."""

    def __init__(self, path: Path, options: OnnxInput | None = None, *, threads: int = 1) -> None:
        """Raises DataSetError if the file is no such network, or its input size is unknown."""
        options = options or OnnxInput()
        if options.alignment not in ALIGNMENTS:
            raise DataSetError(f"no alignment {options.alignment!r}: choose from {', '.join(ALIGNMENTS)}")
        try:
            self._net = BatchRunner(path, threads=threads)
        except ValueError as error:
            raise DataSetError(str(error)) from error
        # ONNX Runtime raises many types of errors, and their texts contain paths of the machine.
        except Exception as error:
            raise DataSetError(f"{path.name} cannot be used: {type(error).__name__}") from error
        default_px = options.side_px or ALIGNMENTS[options.alignment].side_px
        height, width = (side or default_px for side in self._net.input_px)
        if options.side_px and (height, width) != (options.side_px, options.side_px):
            raise DataSetError(f"{path.name} takes {height} x {width} px, not {options.side_px} squared")
        output = self._net.run(np.zeros((1, 3, height, width), np.float32))
        ref = file_ref(path)
        self._spec = EncoderSpec(
            probe=ref,
            reference=ref,
            alignment=options.alignment,
            columns=options.columns,
            input_px=(height, width),
            normalisation=options.normalisation,
            dimension=output.size,
            metric="cosine",
        )
        self.name = f"{path.name} (SHA-256 {ref.sha256[:12]})"
        self.alignment = options.alignment

    def embed(self, crops: Pixels, spectrum: Spectrum) -> Vectors:
        """uint8 [n, side, side, 3] -> unit float32 [n, dimension]."""
        return _embed(self._net, self._spec, crops, spectrum)
