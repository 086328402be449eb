"""How long the encoders of bundles take for a face, side by side: `python -m benchmarks.encoders BUNDLE...`.

Every encoder file embeds one rendered face after the other in the same rounds, on one thread; then each
bundle detects and embeds a whole photo. Processor time is measured beside the clock, because it hardly
depends on what else runs on the machine. Ratios are against the first bundle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from faces.bundle import Bundle, read, verify
from faces.image import DecodeLimits, decode
from faces.parity import read_parity
from faces.preprocess import encoder_input
from faces.types import Role, Spectrum
from training.networks.onnx_runner import BatchRunner, BundleRunner

SAMPLE = Path(__file__).resolve().parent.parent / "service" / "samples" / "s01" / "vis_1.jpg"
LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
WARM_UP = 3
Task = Callable[[], object]


def encoder_tasks(bundle: Bundle, batch: int) -> Mapping[str, Task]:
    """Embeds the bundle's parity crops, `batch` at a time, by each of its encoder files."""
    manifest, crops = bundle.manifest, read_parity(bundle)
    if crops is None:
        raise typer.BadParameter(f"{manifest.name} has no parity crops")
    inputs = np.stack([encoder_input(crop, manifest.encoder) for crop in crops.aligned()[:batch]])
    files = {manifest.encoder.reference.path: Role.REFERENCE, manifest.encoder.probe.path: Role.PROBE}
    refs = {Role.REFERENCE: manifest.encoder.reference, Role.PROBE: manifest.encoder.probe}
    runners = {name: BatchRunner(bundle.path(refs[role]), threads=1) for name, role in files.items()}
    return {
        f"{manifest.name}/{name}": lambda runner=runner: runner.run(inputs)  # type: ignore[misc]
        for name, runner in runners.items()
    }


def whole_task(bundle: Bundle) -> Task:
    """Detects the face of a photo and embeds it as a probe."""
    runner = BundleRunner(bundle, threads=1)
    image = decode(SAMPLE.read_bytes(), limits=LIMITS, spectrum=Spectrum.VIS)
    return lambda: runner.template(image, masked=True)


def timed(tasks: Mapping[str, Task], rounds: int) -> Mapping[str, tuple[float, float]]:
    """Medians of each task over the same rounds, in ms: of the processor and of the clock."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for lap in range(rounds + WARM_UP):
        for name, task in tasks.items():
            cpu, wall = time.process_time(), time.perf_counter()
            task()
            if lap >= WARM_UP:
                spent = (time.process_time() - cpu, time.perf_counter() - wall)
                taken[name].append((1e3 * spent[0], 1e3 * spent[1]))
    return {name: tuple(np.median(values, axis=0).tolist()) for name, values in taken.items()}


def show(console: Console, title: str, found: Mapping[str, tuple[float, float]], faces: int) -> None:
    first = next(iter(found.values()))
    table = Table(title, "processor ms a face", "clock ms a face", "times the first")
    for name, (cpu, wall) in found.items():
        table.add_row(name, f"{cpu / faces:.2f}", f"{wall / faces:.2f}", f"{cpu / first[0]:.2f}")
    console.print(table)


def main(
    bundles: Annotated[list[Path], typer.Argument(help="bundles' directories; the first is the measure")],
    rounds: Annotated[int, typer.Option(min=1)] = 50,
    batch: Annotated[
        list[int] | None, typer.Option(help="faces in one pass, else 1; repeat for more")
    ] = None,
) -> None:
    """Times encoders, then detection and embedding together."""
    opened: Sequence[Bundle] = [read(path) for path in bundles]
    for bundle in opened:
        verify(bundle)
    console = Console(width=110)
    for size in batch or [1]:
        tasks: dict[str, Task] = {}
        for bundle in opened:
            tasks |= encoder_tasks(bundle, size)
        show(console, f"encoder, batch {size}", timed(tasks, rounds), size)
    show(
        console,
        "detection and encoder of a probe",
        timed({one.manifest.name: whole_task(one) for one in opened}, rounds),
        1,
    )


if __name__ == "__main__":
    typer.run(main)
