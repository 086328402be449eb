"""Crops -> network input, with light augmentation, from memory-mapped shards."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from faces.bundle import Normalisation
from faces.preprocess import to_network
from faces.types import Pixels
from training.data.batches import PairBatch
from training.data.pairs import PairRequest, PairSampler
from training.data.prepared import PreparedSet

# Every network of this project takes (pixel - 127.5) / 127.5; its manifest says so.
NORMALISATION = Normalisation(order="bgr", mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
T = TypeVar("T")


def network_input(crops: Pixels, side_px: int) -> torch.Tensor:
    """uint8 [n, s, s, 3] -> float32 [n, 3, side, side], resized exactly as `faces.preprocess` does."""
    rows = []
    for crop in crops:
        if crop.shape[0] != side_px:
            resized = cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_LINEAR)
            crop = np.asarray(resized, np.uint8)
        rows.append(to_network(crop, NORMALISATION))
    return torch.from_numpy(np.stack(rows))


def augment(
    images: torch.Tensor, rng: np.random.Generator, *, grey: float = 0.0, mirror: bool = True
) -> torch.Tensor:
    """Flips, gain and offset of each image [n, 3, s, s]; grey as three equal channels with a chance."""
    n = len(images)
    flip = torch.from_numpy(rng.random(n) < (0.5 if mirror else 0.0))
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, (n, 1, 1, 1)).astype(np.float32))
    offset = torch.from_numpy(rng.uniform(-0.15, 0.15, (n, 1, 1, 1)).astype(np.float32))
    images = images * gain + offset
    if grey:
        plain = in_grey(images)
        images = torch.where(torch.from_numpy(rng.random(n) < grey)[:, None, None, None], plain, images)
    return images.clamp(-1.0, 1.0)


def in_grey(images: torch.Tensor) -> torch.Tensor:
    """Luminance (ITU-R BT.601) of blue-green-red images [n, 3, s, s] in three equal channels."""
    weights = torch.tensor([0.114, 0.587, 0.299])[None, :, None, None]
    return (images * weights).sum(1, keepdim=True).expand_as(images)


class PairFeed:
    """Batches of pairs for a task. `teacher`: templates [rows, T] by row of the set, or None."""

    def __init__(
        self,
        prepared: PreparedSet,
        sampler: PairSampler,
        *,
        side_px: int,
        teacher: NDArray[np.float32] | None = None,
    ) -> None:
        self.prepared, self._sampler, self._side, self._teacher = prepared, sampler, side_px, teacher

    def requests(self, start: int) -> Iterator[tuple[PairRequest, ...]]:
        """Which rows make each batch."""
        return self._sampler.batches(start)

    def nir_input(self, images: torch.Tensor) -> torch.Tensor:
        """The NIR side as it is; a control may take something away from it."""
        return images

    def batches(self, start: int = 0) -> Iterator[PairBatch]:
        """Endless; every image's augmentation depends on seed, iteration and place alone."""
        for iteration, pairs in enumerate(self.requests(start), start):
            rng = np.random.default_rng([self._sampler.seed, iteration, 1])
            nir = self.nir_input(network_input(self.prepared.crops([p.nir for p in pairs]), self._side))
            vis = network_input(self.prepared.crops([p.vis for p in pairs]), self._side)
            templates = None
            if self._teacher is not None:
                templates = torch.from_numpy(self._teacher[[p.vis for p in pairs]])
            yield PairBatch(
                iteration=iteration,
                nir=augment(nir, rng),
                vis=augment(vis, rng),
                identity=torch.tensor([p.label for p in pairs]),
                teacher=templates,
            )


def ahead(items: Iterator[T], depth: int = 4) -> Iterator[T]:
    """The same items, made by a thread while the last one is used. Its errors are raised here.

    Whoever stops early waits for the item that is being made: a thread that an ending process finds
    inside torch takes the process down with it.
    """
    waiting: queue.Queue[T | Exception | None] = queue.Queue(depth)
    stop = threading.Event()

    def give(item: T | Exception | None) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not give(item):
                    return
            give(None)
        except Exception as error:  # noqa: BLE001 - handed to the reader
            give(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
