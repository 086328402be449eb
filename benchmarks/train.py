"""Images a second of the HSST step, beside the bare networks and beside the data's way.

    python -m benchmarks.train

The floor is what the method cannot do without: forward and backward of the probe-net and forward of the
gallery-net on the same images. Networks lie in memory as the trainers have them (channels last). Loading
is measured alone, in one thread: crops from mapped shards, resized, augmented. Both spectra of a batch
count as images.
"""

from __future__ import annotations

import argparse
import copy
import platform
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from faces.types import Spectrum
from training.data.batches import PairBatch
from training.data.pair_loader import PairLoader
from training.data.pairs import PairSampler
from training.data.prepared import PreparedSet, Row, SetInfo
from training.data.set_writer import SetWriter
from training.methods.hsst import Hsst, HsstConfig
from training.networks.mobilefacenet import MobileFaceNet

SUBJECTS, PHOTOS = 160, 3


def noise_set(root: Path) -> PreparedSet:
    """Writes a set of noise at 112 px: the content of a picture does not change the time."""
    info = SetInfo(name="noise", alignment="arcface-112", side_px=112, made_by="benchmarks.train")
    writer, rng = SetWriter(root, info), np.random.default_rng(0)
    for subject in range(SUBJECTS):
        for photo in range(PHOTOS):
            for spectrum in Spectrum:
                row = Row(
                    source=f"{subject}/{photo}",
                    subject=str(subject),
                    spectrum=spectrum,
                    masked=spectrum is Spectrum.NIR,
                    split="train",
                )
                writer.add(row, rng.integers(0, 256, (112, 112, 3)).astype(np.uint8))
    return writer.close()


def best_s(work: Callable[[], None], rounds: int) -> float:
    """Returns the seconds of the fastest round, after one that does not count."""
    work()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def bare_step(net: MobileFaceNet, gallery: MobileFaceNet, batch: PairBatch) -> None:
    """Runs the floor: the two networks on the same images, with any loss."""
    for images in (batch.nir, batch.vis):
        net(images).square().mean().backward()
        with torch.no_grad():
            gallery(images)
    net.zero_grad(set_to_none=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    torch.manual_seed(0)
    net = MobileFaceNet(side_px=args.side).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    gallery = copy.deepcopy(net)
    config = HsstConfig(queue=128)
    task = Hsst(copy.deepcopy(net), config, dimension=512, batch=args.batch, seed=0)
    optimiser = torch.optim.SGD(task.groups(1e-3), momentum=0.9)
    with tempfile.TemporaryDirectory() as scratch:
        sampler = PairSampler(
            noise_set(Path(scratch)), split="train", batch=args.batch, queue=128, p_mask=1.0, seed=0
        )
        loader = PairLoader(sampler.prepared, sampler, side_px=args.side)
        batches = list(islice(loader.batches(), args.rounds + 1))
        waiting = iter(batches)

        def step() -> None:
            batch = next(waiting)
            outcome = task(batch)
            optimiser.zero_grad(set_to_none=True)
            outcome.loss.backward()
            optimiser.step()
            task.after_step(batch, outcome)

        source = iter(loader.batches())
        images = 2 * args.batch
        bare = images / best_s(lambda: bare_step(net, gallery, batches[0]), args.rounds)
        hsst = images / best_s(step, args.rounds)
        loading = images / best_s(lambda: discard(next(source)), args.rounds)
    print(
        f"{platform.machine()}, torch {torch.__version__}, {args.threads} threads, {args.side} px,", end=" "
    )
    print(f"{args.batch} subjects a batch, MobileFaceNet 512-d")
    print(f"  bare networks      {bare:8.1f} images/s")
    print(f"  HSST step          {hsst:8.1f} images/s    {hsst / bare:.2f} x bare")
    print(f"  loading, 1 thread  {loading:8.1f} images/s    {loading / hsst:.1f} x what the step takes")
    return 0


def discard(_batch: PairBatch) -> None:
    """Discards a batch."""


if __name__ == "__main__":
    raise SystemExit(main())
