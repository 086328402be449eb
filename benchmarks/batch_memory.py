"""Shows how much memory the networks of a bundle take, by the sizes of the batches they have seen.

    python -m benchmarks.batch_memory --bundle models/halflight-2 --largest 8

Runs each network as the service does, every size of canvas, with batches of 1, 2, 4, 8 and 8 again, and then
with many of mixed sizes; `--patterns` does so with the memory patterns of ONNX Runtime, which the service
leaves out. Prints what is resident after each. Times are not measured.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from faces.bundle import Bundle, read
from service.inference.session import OnnxSession
from service.settings import Settings

MIXED, OFTEN = 120, 6


def resident_mib() -> float:
    """Of this process."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in each)
    return int(line.split()[1]) / 1024


def networks(bundle: Bundle, *, patterns: bool) -> list[tuple[OnnxSession, Sequence[tuple[int, int]]]]:
    """Detector and encoders, each with the sizes (height, width) of its inputs."""
    manifest = bundle.manifest
    sides = [(side, side) for side in manifest.detector.sides_px]
    sizes = {bundle.path(manifest.detector.file): sides}
    sizes |= {
        bundle.path(ref): [manifest.encoder.input_px]
        for ref in (manifest.encoder.probe, manifest.encoder.reference)
    }
    opened: list[tuple[OnnxSession, Sequence[tuple[int, int]]]] = []
    for path, shapes in sizes.items():
        session = OnnxSession(path, providers=["CPUExecutionProvider"], intra_op_threads=1)
        if patterns:
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            session._session = ort.InferenceSession(str(path), options)
        opened.append((session, shapes))
    return opened


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Settings().bundle_dir)
    parser.add_argument("--largest", type=int, default=Settings().max_batch)
    parser.add_argument("--patterns", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    opened = networks(read(asked.bundle), patterns=asked.patterns)
    print(f"{'loaded':>12} {resident_mib():5.0f} MiB")
    size, sizes = 1, []
    while size < asked.largest:
        sizes.append(size)
        size *= 2
    for rows in (*sizes, asked.largest, asked.largest):
        for session, shapes in opened:
            for shape in shapes:
                session.run(np.full((rows, 3, *shape), 0.1, np.float32))
        print(f"{f'batch of {rows}':>12} {resident_mib():5.0f} MiB", flush=True)
    draw = random.Random(asked.seed)  # noqa: S311 - a seed makes the run repeatable
    for number in range(1, MIXED + 1):
        session, shapes = draw.choice(opened)
        session.run(np.full((draw.randint(1, asked.largest), 3, *draw.choice(shapes)), 0.1, np.float32))
        if number % (MIXED // OFTEN) == 0:
            print(f"{f'{number} mixed':>12} {resident_mib():5.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
