"""Encoders of a bundle in fp32, fp16 and static int8: how long a crop takes, and who is still found first.

    python -m benchmarks.variants [BUNDLE] [--set PREPARED_SET ...] [--rounds 20]

The smaller files are made here, in a temporary directory, as `python -m export --variant` makes them; int8
takes its ranges from the rendered samples, mirrored and at three brightnesses. All files run in turn, on one
thread. With `--set` each of them embeds every crop of the set: the rank-1 of each condition, and the
difference to fp32 with a 95 % interval over people (bootstrap). Take sets of validation people. bf16 is tried
as well: whether ONNX Runtime has the convolutions for it on this processor.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.variants import to_fp16, to_int8
from faces.align import align
from faces.bundle import Bundle, read
from faces.image import DecodeLimits, decode
from faces.preprocess import encoder_input, unit_rows
from faces.types import AlignedCrop, Pixels, Spectrum
from service.settings import builtin_bundle
from training.data.prepared import PreparedSet, read_prepared
from training.networks.onnx_runner import BatchRunner, BundleRunner

SAMPLES = Path(__file__).resolve().parent.parent / "service" / "samples"
LIMITS = DecodeLimits(max_bytes=1 << 24, max_pixels=1 << 24)
NAMES = ("fp32", "fp16", "int8")
# Of the rendered crops, so that ranges do not come from one exposure alone.
BRIGHTNESSES = (0.6, 1.0, 1.3)
BATCHES = (1, 8)
WARM_UP, RESAMPLED = 2, 2000
CONDITIONS = tuple((spectrum, masked) for spectrum in Spectrum for masked in (False, True))
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """Rank-1 of a condition in percent, by variant; the differences to fp32 with their intervals."""

    what: str
    probes: int
    rank1: Mapping[str, float]
    less: Mapping[str, tuple[float, float, float]]


def rendered(bundle: Bundle) -> Pixels:
    """Aligned crops of every rendered sample, mirrored and at some brightnesses, uint8 [n, side, side, 3]."""
    runner, crops = BundleRunner(bundle), list[Pixels]()
    for path in sorted(SAMPLES.glob("s*/*.jpg")):
        spectrum = Spectrum.NIR if path.name.startswith("nir") else Spectrum.VIS
        image = decode(path.read_bytes(), limits=LIMITS, spectrum=spectrum)
        for face in runner.faces(image)[:1]:
            crops.append(align(image, face, bundle.manifest.encoder.alignment).pixels)
    plain = np.stack(crops)
    both = np.concatenate([plain, plain[:, :, ::-1]])
    lit = [np.clip(both * share, 0, 255).astype(np.uint8) for share in BRIGHTNESSES]
    made: Pixels = np.concatenate(lit)
    return made


def files(bundle: Bundle, role: str, scratch: Path, crops: Pixels) -> dict[str, Path]:
    """The encoder of a role in every variant."""
    spec = bundle.manifest.encoder
    source = bundle.path(spec.probe if role == "probe" else spec.reference)
    made = {"fp32": source} | {name: scratch / f"{role}-{name}.onnx" for name in NAMES[1:]}
    to_fp16(source, made["fp16"])
    to_int8(source, made["int8"], inputs(bundle, crops))
    return made


def inputs(bundle: Bundle, crops: Pixels) -> Floats:
    """What the network gets for crops, float32 [n, 3, h, w]."""
    spec = bundle.manifest.encoder
    # The distance between the eyes and the spectrum play no part here.
    aligned = (AlignedCrop(one, spec.alignment, inter_eye_px=40.0, spectrum=Spectrum.VIS) for one in crops)
    return np.stack([encoder_input(one, spec) for one in aligned])


def timed(runners: Mapping[str, BatchRunner], batch: Floats, rounds: int) -> dict[str, float]:
    """Median milliseconds a crop, in turn."""
    taken: dict[str, list[float]] = {name: [] for name in runners}
    for lap in range(rounds + WARM_UP):
        for name, runner in runners.items():
            began = time.perf_counter()
            runner.run(batch)
            if lap >= WARM_UP:
                taken[name].append(1000 * (time.perf_counter() - began) / len(batch))
    return {name: statistics.median(values) for name, values in taken.items()}


def bf16_runs() -> str:
    """Why ONNX Runtime does not convolve in bf16 here, or an empty text."""
    kind, tensor = TensorProto.BFLOAT16, helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "bf16",
        [tensor("x", kind, [1, 3, 8, 8]), tensor("w", kind, [4, 3, 3, 3])],
        [tensor("y", kind, [1, 4, 6, 6])],
    )
    # Opset 22 is the first whose Conv takes bf16.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
        return str(error).split("\n")[0]
    return ""


def accuracy(
    bundle: Bundle, runners: Mapping[str, Mapping[str, BatchRunner]], prepared: PreparedSet
) -> Iterator[Found]:
    """`runners`: by role, then variant. Clear visible probes pass through the references' encoder."""
    batch = inputs(bundle, prepared.crops(range(len(prepared.rows))))
    of = {
        role: {name: unit_rows(runner.run(batch)) for name, runner in by_name.items()}
        for role, by_name in runners.items()
    }
    subject = np.array([row.subject for row in prepared.rows])
    gallery = prepared.select(role="gallery", masked=False, spectrum=Spectrum.VIS)
    routed = bundle.manifest.encoder.routing == "condition"
    for spectrum, masked in CONDITIONS:
        probes = prepared.select(role="probe", spectrum=spectrum, masked=masked)
        if not len(probes):
            continue
        role = "reference" if routed and spectrum is Spectrum.VIS and not masked else "probe"
        hits = {}
        for name in NAMES:
            scores = of[role][name][probes] @ of["reference"][name][gallery].T
            hits[name] = 100.0 * (subject[gallery][scores.argmax(axis=1)] == subject[probes])
        less = {name: _interval(hits[name] - hits["fp32"], subject[probes]) for name in NAMES[1:]}
        rank1 = {name: float(hit.mean()) for name, hit in hits.items()}
        yield Found(f"{spectrum.value}{', masked' if masked else ''}", len(probes), rank1, less)


def _interval(change: NDArray[np.float64], subject: NDArray[np.str_]) -> tuple[float, float, float]:
    people, place = np.unique(subject, return_inverse=True)
    total, count = np.bincount(place, change), np.bincount(place)
    drawn = np.random.default_rng(0).integers(0, len(people), (RESAMPLED, len(people)))
    means = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(change.mean()), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path, nargs="?", default=builtin_bundle())
    parser.add_argument("--set", type=Path, action="append", default=[])
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    bundle = read(args.bundle)
    crops = rendered(bundle)
    print(f"{bundle.manifest.name}; int8 takes its ranges from {len(crops)} rendered crops")
    with tempfile.TemporaryDirectory() as folder:
        made = {role: files(bundle, role, Path(folder), crops) for role in ("reference", "probe")}
        runners = {
            role: {name: BatchRunner(path, threads=1) for name, path in paths.items()}
            for role, paths in made.items()
        }
        for role, by_name in runners.items():
            sizes = ", ".join(f"{name} {made[role][name].stat().st_size / 1e6:.1f}" for name in NAMES)
            print(f"{role}: MB {sizes}")
            for size in BATCHES:
                ms = timed(by_name, inputs(bundle, crops[:size]), args.rounds)
                said = ", ".join(f"{name} {ms[name]:.2f} ({ms['fp32'] / ms[name]:.2f} x)" for name in NAMES)
                print(f"{role}, batch {size}, ms a crop: {said}")
        for place in args.set:
            for found in accuracy(bundle, runners, read_prepared(place)):
                said = ", ".join(f"{name} {value:.1f}" for name, value in found.rank1.items())
                changes = "; ".join(
                    f"{name} {change:+.2f} ({low:+.2f} to {high:+.2f})"
                    for name, (change, low, high) in found.less.items()
                )
                print(f"{place.name}, {found.what}, {found.probes} probes: rank-1 {said}; {changes}")
    print(f"bf16: {bf16_runs() or 'ONNX Runtime takes it here'}")


if __name__ == "__main__":
    main()
