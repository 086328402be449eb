"""Builds the table of a run: systems by condition, on every probe set given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from faces.types import Spectrum
from training.data.prepared import read_prepared
from training.data.records import DataSetError
from training.matcher.figures import Figures
from training.matcher.measure import Embed, System, Templates, alone, embed_set, measured
from training.matcher.teacher import templates
from training.networks.checkpoint import load_network
from training.networks.imported import ImportedNet
from training.networks.onnx_encoders import BundleEncoder

CONDITIONS = (
    (Spectrum.VIS, False),
    (Spectrum.VIS, True),
    (Spectrum.NIR, False),
    (Spectrum.NIR, True),
)
# Shares of the second network's squared norm that a fusion is tried with.
SHARES = (0.3, 0.5)


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of the table."""

    probes: str
    condition: str
    system: str
    figures: Figures

    def __str__(self) -> str:
        f = self.figures
        rank = f"{f.rank1.value:5.1f} [{f.rank1.low:.1f}, {f.rank1.high:.1f}]"
        tar = f"{f.tar.value:5.1f} [{f.tar.low:.1f}, {f.tar.high:.1f}]"
        where = f"{self.probes} | {self.condition} | {f.probes}/{f.subjects} | {self.system}"
        return f"| {where} | {rank} | {tar} |"


def imported_embed(net: ImportedNet) -> Embed:
    """Mirrored templates of a network read from a file."""
    net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return lambda crops: templates(net, crops)


def checkpoint_embed(path: Path) -> Embed:
    """The mirrored encoder of a run. Raises DataSetError where it is not of an imported kind."""
    net, _ = load_network(path)
    if not isinstance(net, ImportedNet):
        raise DataSetError(f"{path.name} is no encoder of `matcher train`")
    return imported_embed(net)


def bundle_embed(root: Path) -> Embed:
    """A bundle's network for NIR, as the service runs it."""
    encoder = BundleEncoder(root)
    return lambda crops: encoder.embed(crops, Spectrum.NIR)


def systems(*, fused: bool, runs: Sequence[str]) -> list[System]:
    """The trunk and the second network alone and fused; each run's probes among the trunk's references."""
    made = [alone("trunk")]
    if fused:
        made.append(alone("second"))
        made += [_with_second(System("trunk", "trunk", "trunk", "trunk"), share) for share in SHARES]
    for run in runs:
        one = System(f"trunk/{run}", "trunk", "trunk", run)
        made += [one, System(f"trunk/{run} all", "trunk", run, run), alone(run)]
        if fused:
            made += [_with_second(one, share) for share in SHARES]
    return made


def _with_second(one: System, share: float) -> System:
    return System(f"{one.name} + second {share}", one.reference, one.clear, one.probe, "second", share)


def lines(sets: Path, embeds: dict[str, Embed], kept: Path | None, chosen: Sequence[System]) -> list[Line]:
    """Every set below `sets`; those with real masks also search among LFW's people."""
    found = {
        path.name: read_prepared(path) for path in sorted(sets.iterdir()) if (path / "set.json").is_file()
    }
    of: dict[str, Templates] = {name: embed_set(one, embeds, kept) for name, one in found.items()}
    made = []
    for name, probes in of.items():
        galleries = [probes]
        if name.startswith("real"):
            galleries += [t for other, t in of.items() if other == name.replace("real", "lfw", 1)]
        for spectrum, masked in CONDITIONS:
            if not len(probes.prepared.select(role="probe", spectrum=spectrum, masked=masked)):
                continue
            condition = f"{spectrum.value}{' masked' if masked else ''}"
            for system in chosen:
                figures = measured(system, probes, *galleries, spectrum=spectrum, masked=masked)
                made.append(Line(name, condition, system.name, figures))
    return made
