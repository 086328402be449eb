"""`python -m export.liveness BUNDLE NETWORK.onnx --facts FACTS.toml`: a network that looks for a living face.

The bundle gets the file as `liveness.onnx`, its manifest says how the network is used and what it was
measured to do, and the card gets a section of it. Thresholds stay: it shapes no template, and may only deny.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from pydantic import ValidationError
from rich.console import Console

from export.card import CARD_NAME, replace_liveness
from export.graph import ExportError
from faces.bundle import BundleError, LivenessSpec, file_ref, read, verify, write_manifest
from faces.strict import strip_prefix
from training.cli.errors import exit_on_user_error
from training.networks.onnx_runner import session

FILE = "liveness.onnx"
# Batches that are tried.
TRIED = (1, 3)


def specify(network: Path, facts: Path) -> tuple[LivenessSpec, str]:
    """What a manifest says of the network, and its licence. `facts`: TOML with `licence` and the keys of
    `LivenessSpec`, without `file`.

    Raises ExportError, which names the key that is wrong.
    """
    try:
        stated = tomllib.loads(facts.read_text(encoding="utf-8"))
        file = file_ref(network, name=FILE)
    except (OSError, ValueError) as error:
        raise ExportError(f"{getattr(error, 'filename', None) or facts.name}: cannot be read") from error
    licence = stated.pop("licence", None)
    if not isinstance(licence, str) or not licence.strip():
        raise ExportError(f"{facts.name}: licence: say under which terms the network is")
    try:
        return LivenessSpec.model_validate(stated | {"file": file.model_dump()}), licence
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "facts"
        raise ExportError(f"{facts.name}: {where}: {strip_prefix(first['msg'])}") from error


def check_network(network: Path, spec: LivenessSpec) -> None:
    """Runs the network on noise. Raises ExportError unless it gives one probability for each crop."""
    try:
        running = session(network, threads=1)
        (given,) = (one.name for one in running.get_inputs())
        (made,) = (one.name for one in running.get_outputs())
        for batch in TRIED:
            shape = (batch, 3, spec.input_px, spec.input_px)
            crops = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
            (found,) = running.run([made], {given: crops})
            if found.shape != (batch, 1) or not np.all((found >= 0) & (found <= 1)):
                raise ExportError(f"{network.name} gives {found.shape}, and no probability for each crop")
    except ExportError:
        raise
    except Exception as error:  # ONNX Runtime has an exception of its own for each kind of fault
        raise ExportError(
            f"{network.name} does not take float32 [batch, 3, {spec.input_px}, {spec.input_px}]"
            f" ({type(error).__name__})"
        ) from error


def add_liveness(root: Path, network: Path, facts: Path) -> LivenessSpec:
    """Puts the network into the bundle at `root`. Raises ExportError, BundleError."""
    bundle = read(root)
    spec, licence = specify(network, facts)
    check_network(network, spec)
    shutil.copyfile(network, root / FILE)
    changed = {"liveness": spec, "licences": {**bundle.manifest.licences, FILE: licence}}
    manifest = bundle.manifest.model_copy(update=changed)
    write_manifest(manifest, root)
    verify(read(root))
    if (root / CARD_NAME).is_file():
        replace_liveness(root / CARD_NAME, manifest)
    return spec


def main(
    bundle: Annotated[Path, typer.Argument(help="the bundle")],
    network: Annotated[Path, typer.Argument(help="ONNX: [batch, 3, side, side] -> probability [batch, 1]")],
    facts: Annotated[Path, typer.Option(help="TOML: how it is used, and its error rates")],
) -> None:
    """Put a network that looks for a living face into a bundle."""
    console = Console(stderr=True)
    with exit_on_user_error(ExportError, BundleError):
        spec = add_liveness(bundle, network, facts)
    worst = max(spec.errors.attacks, key=lambda one: one.apcer)
    console.print(
        f"{FILE}: denies below {spec.threshold:g}; APCER {worst.apcer:g} of {worst.kind}, BPCER"
        f" {spec.errors.bpcer:g}",
        highlight=False,
    )


if __name__ == "__main__":
    typer.run(main)
