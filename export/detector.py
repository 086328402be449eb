"""`python -m export.detector CHECKPOINT OUT`: a trained detector -> ONNX, checked against torch.

OUT gets `detector.onnx` and `detector.json`: what a bundle's manifest says of its detector and its masks.
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
    DetectedMask,
    DetectorSpec,
    LookWindow,
    ScoreCalibration,
    SecondLook,
    file_ref,
)
from faces.detect import STRIDES
from faces.files import write_whole
from training.cli.errors import exit_on_user_error
from training.data.network_input import NORMALISATION
from training.detector.candidates import DetectorFacts
from training.detector.network import OUTPUTS, DetectorNet, Exported, count_parameters
from training.detector.run import load_detector
from training.networks.onnx_runner import session

INPUT = "image"
CANVAS_PX = (320, 640)
# The score: the lowest, in steps of .05, with at most one false positive in 20 validation photos.
SCORE_THRESHOLD, NMS_IOU, MASK_THRESHOLD = 0.55, 0.4, 0.5
# Chosen on validation photos and training scenes (docs/detector.md).
SECOND_LOOK = SecondLook(
    least=0.4,
    below=0.75,
    windows=(
        LookWindow(times=2.25, side_px=160),
        LookWindow(times=3, mirrored=True, side_px=160),
        LookWindow(times=4.5, side_px=224),
    ),
)
# Inputs that torch and ONNX Runtime are compared on: batch, height, width.
TRIED = ((1, 320, 320), (3, 160, 256), (2, 64, 96))
MOST_DIFFERENCE = 1e-3
MOST_BYTES, BYTES_EACH = 1_000_000, 4
LARGEST_PX = 4096


def export_detector(net: DetectorNet, path: Path) -> float:
    """Writes the network: `image` [batch, 3, height, width] -> `faces_8`, `faces_16`, `faces_32`
    [batch, 16, height / s, width / s]; all three sizes are dynamic, the sides multiples of 32.

    Returns the largest difference from torch. Raises ExportError if the difference or the file is too large.
    """
    weights = count_parameters(net) * BYTES_EACH
    if weights >= MOST_BYTES:
        raise ExportError(f"the detector's weights have {weights} bytes, and {MOST_BYTES} are too many")
    coarsest = STRIDES[-1]
    rows = coarsest * torch.export.Dim("rows", min=2, max=LARGEST_PX // coarsest)
    columns = coarsest * torch.export.Dim("columns", min=2, max=LARGEST_PX // coarsest)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    wrapped = Exported(net).eval()
    model = exported(
        wrapped,
        torch.zeros(2, 3, 3 * coarsest, 4 * coarsest),
        INPUT,
        OUTPUTS,
        {0: batch, 2: rows, 3: columns},
        name="detector",
    )
    data = model.SerializeToString(deterministic=True)
    if len(data) >= MOST_BYTES:
        raise ExportError(f"the detector has {len(data)} bytes, and {MOST_BYTES} are too many")
    write_whole(path, data)
    difference = difference_from_torch(wrapped, path)
    if difference > MOST_DIFFERENCE:
        raise ExportError(f"parity with torch fails: {difference:.2g} apart, at most {MOST_DIFFERENCE:g}")
    return difference


def difference_from_torch(wrapped: Exported, path: Path) -> float:
    """Returns the largest difference on noise of several sizes, relative to an output's largest value."""
    running = session(path, threads=1)
    rng = np.random.default_rng(0)
    worst = 0.0
    for batch, height, width in TRIED:
        image: NDArray[np.float32] = rng.uniform(-1, 1, (batch, 3, height, width)).astype(np.float32)
        with torch.no_grad():
            expected = [part.numpy() for part in wrapped(torch.from_numpy(image))]
        for found, wanted in zip(running.run(list(OUTPUTS), {INPUT: image}), expected, strict=True):
            worst = max(worst, float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max())))
    return worst


def write_facts(
    path: Path,
    *,
    score_threshold: float,
    nms_iou: float,
    mask_threshold: float,
    calibration: ScoreCalibration | None = None,
    uncertain: tuple[float, float] | None = None,
    second_look: SecondLook | None = None,
) -> DetectorFacts:
    """Writes `detector.json` beside an exported network and returns its facts.

    `calibration` of the score and the `uncertain` probabilities of a mask are measured on the exported
    network, so a first export leaves them out.
    """
    spec = DetectorSpec(
        file=file_ref(path),
        decoder="centres",
        normalisation=NORMALISATION,
        canvas_px=CANVAS_PX,
        score_threshold=score_threshold,
        nms_iou=nms_iou,
        calibration=calibration,
        second_look=second_look,
    )
    mask = DetectedMask(decoder="detector", threshold=mask_threshold, uncertain=uncertain)
    facts = DetectorFacts(detector=spec, mask=mask)
    write_whole(path.with_suffix(".json"), (facts.model_dump_json(indent=1) + "\n").encode())
    return facts


def read_calibration(path: Path) -> ScoreCalibration:
    """Raises ExportError if the file is not what `training detector scores` printed."""
    try:
        return ScoreCalibration.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ExportError(f"{path.name} holds no calibration: make it with `detector scores`") from error


def main(
    checkpoint: Annotated[Path, typer.Argument(help="what `training detector train` made")],
    out: Annotated[Path, typer.Argument(help="folder for detector.onnx and detector.json")],
    score_threshold: Annotated[float, typer.Option(min=0.01, max=0.99)] = SCORE_THRESHOLD,
    mask_threshold: Annotated[float, typer.Option(min=0.01, max=0.99)] = MASK_THRESHOLD,
    nms_iou: Annotated[float, typer.Option(min=0.01, max=0.99)] = NMS_IOU,
    scores: Annotated[Path | None, typer.Option(help="what `training detector scores` printed")] = None,
    uncertain: Annotated[
        tuple[float, float] | None, typer.Option(help="lowest and highest uncertain mask probability")
    ] = None,
    second_look: Annotated[
        bool,
        typer.Option("--second-look", help="look again at doubtful detections, as faces.second_look does"),
    ] = False,
) -> None:
    """Export a detector and say how far it is from torch."""
    console = Console(stderr=True)
    path = out / "detector.onnx"
    out.mkdir(parents=True, exist_ok=True)
    with exit_on_user_error(ExportError):
        calibration = None if scores is None else read_calibration(scores)
        difference = export_detector(load_detector(checkpoint), path)
    facts = write_facts(
        path,
        score_threshold=score_threshold,
        nms_iou=nms_iou,
        mask_threshold=mask_threshold,
        calibration=calibration,
        uncertain=uncertain,
        second_look=SECOND_LOOK if second_look else None,
    )
    size = facts.detector.file.bytes
    console.print(f"{path.name}: {size} bytes, at most {difference:.1g} from torch")


if __name__ == "__main__":
    typer.run(main)
