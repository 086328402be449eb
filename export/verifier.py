"""`python -m export.verifier CHECKPOINT TARGET --rule RULE.json`: verifier -> ONNX, checked against torch.

TARGET is a bundle, or the `detector.json` of `python -m export.detector`: it gets `verifier.onnx`, and
`detector.verifier` says how it is used. Thresholds of a bundle stay: a verifier shapes no template.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from pydantic import ValidationError
from rich.console import Console

from export.graph import MAX_BATCH, ExportError, exported
from faces.bundle import (
    BundleError,
    DetectorSpec,
    LookWindow,
    VerdictRule,
    VerifierSpec,
    file_ref,
    read,
    verify,
    write_manifest,
)
from faces.files import write_whole
from training.cli.errors import exit_on_user_error
from training.data.network_input import NORMALISATION
from training.detector.candidates import DetectorFacts
from training.detector.network import count_parameters
from training.detector.verifier import VerifierConfig, VerifierNet, load_verifier
from training.networks.onnx_runner import session

FILE, INPUT, OUTPUT = "verifier.onnx", "crop", "logit"
# Batches that torch and ONNX Runtime are compared on.
TRIED = (1, 7)
MOST_DIFFERENCE = 1e-3
MOST_PARAMETERS, MOST_BYTES = 150_000, 600_000
LICENCE = "Apache-2.0; see the card for the terms of the pictures it was trained on"


def export_verifier(net: VerifierNet, config: VerifierConfig, path: Path) -> float:
    """Writes the network: `crop` [batch, 3, side, side] -> `logit` [batch, 1].

    Returns the largest difference from torch. Raises ExportError if the difference or the file is too large.
    """
    if count_parameters(net) > MOST_PARAMETERS:
        raise ExportError(f"the verifier has {count_parameters(net)} parameters, at most {MOST_PARAMETERS}")
    side = config.input_px
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    model = exported(net.eval(), torch.zeros(2, 3, side, side), INPUT, [OUTPUT], {0: batch}, name="verifier")
    data = model.SerializeToString(deterministic=True)
    if len(data) > MOST_BYTES:
        raise ExportError(f"the verifier has {len(data)} bytes, and {MOST_BYTES} are too many")
    write_whole(path, data)
    difference = difference_from_torch(net, side, path)
    if difference > MOST_DIFFERENCE:
        raise ExportError(f"parity with torch fails: {difference:.2g} apart, at most {MOST_DIFFERENCE:g}")
    return difference


def difference_from_torch(net: VerifierNet, side: int, path: Path) -> float:
    """Returns the largest difference on noise, relative to the largest value."""
    running, rng, worst = session(path, threads=1), np.random.default_rng(0), 0.0
    for batch in TRIED:
        crops: NDArray[np.float32] = rng.uniform(-1, 1, (batch, 3, side, side)).astype(np.float32)
        with torch.no_grad():
            wanted = net(torch.from_numpy(crops)).numpy()
        (found,) = running.run([OUTPUT], {INPUT: crops})
        worst = max(worst, float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max())))
    return worst


def specify(path: Path, config: VerifierConfig, rule: VerdictRule) -> VerifierSpec:
    """Returns what a manifest says of the verifier."""
    return VerifierSpec(
        file=file_ref(path),
        normalisation=NORMALISATION,
        input_px=config.input_px,
        window=LookWindow(times=config.times),
        **rule.model_dump(),
    )


def read_rule(path: Path) -> VerdictRule:
    """Raises ExportError if the file is not what `training detector verifier fit` printed."""
    try:
        return VerdictRule.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ExportError(f"{path.name} holds no rule: make it with `detector verifier fit`") from error


def with_verifier(spec: DetectorSpec, verifier: VerifierSpec) -> DetectorSpec:
    """Returns the detector with a verifier instead of another."""
    return DetectorSpec.model_validate(spec.model_dump() | {"verifier": verifier.model_dump()})


def main(
    checkpoint: Annotated[Path, typer.Argument(help="what `training detector verifier train` made")],
    target: Annotated[Path, typer.Argument(help="a bundle, or a detector.json")],
    rule: Annotated[Path, typer.Option(help="what `training detector verifier fit` printed")],
) -> None:
    """Export a verifier into a bundle, or beside a detector."""
    console = Console(stderr=True)
    with exit_on_user_error(ExportError, BundleError):
        chosen, (net, config) = read_rule(rule), load_verifier(checkpoint)
        folder = target if target.is_dir() else target.parent
        path = folder / FILE
        if target.is_dir():
            bundle = read(target)
            difference = export_verifier(net, config, path)
            manifest = bundle.manifest
            changed = {
                "detector": with_verifier(manifest.detector, specify(path, config, chosen)),
                "licences": {**manifest.licences, FILE: LICENCE},
            }
            write_manifest(manifest.model_copy(update=changed), folder)
            verify(read(folder))
        else:
            facts = DetectorFacts.model_validate_json(target.read_bytes())
            difference = export_verifier(net, config, path)
            detector = with_verifier(facts.detector, specify(path, config, chosen))
            made = facts.model_copy(update={"detector": detector})
            write_whole(target, (made.model_dump_json(indent=1) + "\n").encode())
    console.print(
        f"{FILE}: {path.stat().st_size} bytes, {count_parameters(net)} parameters, "
        f"at most {difference:.1g} from torch"
    )


if __name__ == "__main__":
    typer.run(main)
