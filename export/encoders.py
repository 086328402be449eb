"""The encoder files of a bundle: exported, made smaller on request, held against torch, timed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from export.card import FileFacts
from export.graph import ExportError, export_graph, is_split
from export.parity import Parity, compare, ms_per_crop, torch_vectors
from export.variants import LEAST_COSINE, Variant, eight_bit, half
from faces.preprocess import unit_rows
from faces.types import Pixels, Role
from training.data.network_input import network_input
from training.networks.onnx_runner import BatchRunner

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Wanted:
    """`crops`: uint8 [n, s, s, 3] for parity; `ranges`: uint8 [m, s, s, 3] that fix int8's ranges.

    `least_int8`: the smallest cosine with torch that is accepted of int8.
    """

    variant: Variant
    crops: Pixels
    ranges: Pixels | None
    least_int8: float = LEAST_COSINE["int8"]

    def least(self, variant: Variant) -> float:
        return self.least_int8 if variant == "int8" else LEAST_COSINE[variant]


@dataclass(frozen=True, slots=True)
class Encoders:
    """The served file of each role (one path where they share it), and what was measured."""

    files: Mapping[Role, Path]
    parity: tuple[Parity, ...]
    facts: tuple[FileFacts, ...]


def make_encoders(
    net: nn.Module, side_px: int, wanted: Wanted, *, scratch: Path, target: Path, say: Say
) -> Encoders:
    """Put the served files into `target`. Raises ExportError, with the number where parity fails."""
    roles = tuple(Role) if is_split(net) else (Role.PROBE,)
    inputs = network_input(wanted.crops, side_px).numpy()
    parity: list[Parity] = []
    served: dict[Role, Path] = {}
    for role in roles:
        stem = f"encoder-{role.value}" if len(roles) > 1 else "encoder"
        whole = scratch / f"{stem}.onnx"
        say(f"exporting {whole.name}")
        export_graph(net, whole, side_px=side_px, role=role)
        expected = torch_vectors(net, inputs, role)

        def held(
            file: Path, variant: Variant, role: Role = role, expected: NDArray[np.float32] = expected
        ) -> None:
            found = compare(file, expected, inputs, role=role, variant=variant, least=wanted.least(variant))
            say(f"{file.name}: smallest cosine with torch {found.minimum:.6f} over {found.crops} crops")
            parity.append(found)

        held(whole, "fp32")
        chosen = whole
        if wanted.variant != "fp32":
            chosen = scratch / f"{stem}-{wanted.variant}.onnx"
            say(f"making {chosen.name}")
            _smaller(whole, chosen, wanted, side_px)
            held(chosen, wanted.variant)
        served[role] = Path(shutil.copyfile(chosen, target / chosen.name))
    say("timing")
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


def _smaller(whole: Path, target: Path, wanted: Wanted, side_px: int) -> None:
    if wanted.variant == "fp16":
        half(whole, target)
        return
    if wanted.ranges is None:
        raise ExportError("int8 needs crops to fix its ranges")
    eight_bit(whole, target, network_input(wanted.ranges, side_px).numpy())


def expected_vectors(file: Path, crops: Pixels, side_px: int) -> NDArray[np.float32]:
    """Unit vectors [n, d] that a host must find again: of the served file, on the CPU.

    Raises ExportError for a network that gives no vector.
    """
    try:
        return unit_rows(BatchRunner(file).run(network_input(crops, side_px).numpy()))
    except ValueError as error:
        raise ExportError(f"{file.name}: {error}") from error
