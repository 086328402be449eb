"""Makes the encoder files of a bundle: exports, quantises, compares with torch and times them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from export.activations import spread_prelu
from export.card import FileFacts
from export.graph import ExportError, export_graph, is_split
from export.parity import Parity, compare, ms_per_crop, torch_vectors
from export.variants import LEAST_COSINE, SINGLE, Variant, to_fp16, to_half_weights, to_int8
from faces.preprocess import unit_rows
from faces.types import Pixels, Role
from training.data.network_input import network_input
from training.networks.onnx_runner import BatchRunner

ReportProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EncoderOptions:
    """How the encoder files are made and checked.

    `crops`: uint8 [n, s, s, 3] for parity; `ranges`: uint8 [m, s, s, 3] that fix int8's ranges; `least_int8`:
    the smallest cosine with torch that is accepted for int8.
    """

    variant: Variant
    crops: Pixels
    ranges: Pixels | None
    least_int8: float = LEAST_COSINE["int8"]

    def least(self, variant: Variant) -> float:
        """The smallest cosine with torch that is accepted for a variant."""
        return self.least_int8 if variant == "int8" else LEAST_COSINE[variant]


@dataclass(frozen=True, slots=True)
class Encoders:
    """The served file of each role (one path if they share it), and what was measured."""

    files: Mapping[Role, Path]
    parity: tuple[Parity, ...]
    facts: tuple[FileFacts, ...]


def make_encoders(
    nets: Mapping[Role, nn.Module],
    side_px: int,
    options: EncoderOptions,
    *,
    scratch: Path,
    target: Path,
    report_progress: ReportProgress,
) -> Encoders:
    """Writes the served files to `target`: one for both roles if they share a network without statistics
    for each spectrum. Raises ExportError if parity fails, with the figure."""
    shared = nets[Role.PROBE] is nets[Role.REFERENCE] and not is_split(nets[Role.PROBE])
    roles = (Role.PROBE,) if shared else tuple(Role)
    inputs = network_input(options.crops, side_px).numpy()
    parity: list[Parity] = []
    served: dict[Role, Path] = {}
    for role in roles:
        net = nets[role]
        stem = f"encoder-{role.value}" if len(roles) > 1 else "encoder"
        whole = scratch / f"{stem}.onnx"
        report_progress(f"exporting {whole.name}")
        export_graph(net, whole, side_px=side_px, role=role)
        if options.variant in SINGLE:
            spread_prelu(whole)
        expected = torch_vectors(net, inputs, role)

        def check(
            file: Path, variant: Variant, role: Role = role, expected: NDArray[np.float32] = expected
        ) -> None:
            found = compare(file, expected, inputs, role=role, variant=variant, least=options.least(variant))
            report_progress(
                f"{file.name}: smallest cosine with torch {found.minimum:.6f} over {found.crops} crops"
            )
            parity.append(found)

        check(whole, "fp32")
        chosen = whole
        if options.variant != "fp32":
            chosen = scratch / f"{stem}-{options.variant}.onnx"
            report_progress(f"making {chosen.name}")
            _smaller(whole, chosen, options, side_px)
            check(chosen, options.variant)
        served[role] = Path(shutil.copyfile(chosen, target / chosen.name))
    report_progress("timing")
    taken = ms_per_crop([scratch / one.file for one in parity], inputs)
    names = {path.name for path in served.values()}
    facts = tuple(
        FileFacts(
            name=one.file,
            variant=one.variant,
            bytes=(scratch / one.file).stat().st_size,
            minimum_cosine=one.minimum,
            mean_cosine=one.mean,
            ms_per_crop=taken[one.file],
            served=one.file in names,
        )
        for one in parity
    )
    return Encoders({role: served.get(role, served[Role.PROBE]) for role in Role}, tuple(parity), facts)


def _smaller(whole: Path, target: Path, options: EncoderOptions, side_px: int) -> None:
    if options.variant == "fp16":
        to_fp16(whole, target)
        return
    if options.variant == "fp16-weights":
        to_half_weights(whole, target)
        return
    if options.ranges is None:
        raise ExportError("int8 needs crops to fix its ranges")
    to_int8(whole, target, network_input(options.ranges, side_px).numpy())


def served_vectors(file: Path, crops: Pixels, side_px: int) -> NDArray[np.float32]:
    """Returns the unit vectors float32 [n, d] of a served file on the CPU, which a host must reproduce.

    Raises ExportError if the network gives a crop no vector.
    """
    try:
        return unit_rows(BatchRunner(file).run(network_input(crops, side_px).numpy()))
    except ValueError as error:
        raise ExportError(f"{file.name}: {error}") from error
