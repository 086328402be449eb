"""The teacher's labels of every view: its template and intermediate feature maps.

Maps show the student where something is: 14,000 numbers of each view instead of 256. They are stored as
bytes, in units of each channel's spread.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn

from faces.bundle import read
from faces.files import write_array, write_whole
from faces.strict import Strict
from training.data.network_input import network_input
from training.data.records import DataSetError
from training.distil.clean_views import Views
from training.distil.teacher_maps import TeacherNet, taps_of
from training.engine.compile import compile_networks
from training.networks.layers import unit_rows
from training.networks.onnx_import import import_bundle

PART_VIEWS, SCALE_VIEWS = 4096, 1024
BATCH = 64
# One step is a sixteenth of a channel's standard deviation, so a byte spans eight either way.
STEPS = 16.0
FACTS, SCALE = "labels.json", "scale.npz"


class LabelFacts(Strict):
    """Which teacher labelled which views. `maps`: sides of the student's maps that have a target."""

    teacher: str
    photos: int
    seed: int
    maps: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Memory-mapped `templates` float32 [n, T], unit rows, and `maps` int8 [n, c, side, side]."""

    templates: NDArray[np.float32]
    maps: tuple[NDArray[np.int8], ...]


class LabelStore:
    """Labels of views 0 to `count`, stored in parts; keeps finished parts."""

    def __init__(self, folder: Path, views: Views, teacher: Path, *, sides: tuple[int, ...]) -> None:
        """Raises DataSetError if the folder holds labels of other views, or the teacher cannot be read."""
        self.folder, self.views, self.teacher, self.sides = folder, views, teacher, sides
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, count: int, *, bf16: bool = False, compiled: bool = False) -> None:
        """Labels whole parts until at least `count` views have labels."""
        missing = [n for n in range(-(-count // PART_VIEWS)) if not self._complete(n)]
        labeller = self._labeller(compiled=compiled) if missing else None
        self._claim()
        if labeller is None:
            return
        scale = self._scale(labeller, bf16=bf16)
        for number in track(missing, "the teacher's labels"):
            self._part(number, labeller, scale, bf16=bf16)

    def read(self) -> list[Labels]:
        """The complete parts, from the first on."""
        found, number = [], 0
        while self._complete(number):
            template, *maps = (np.load(path, mmap_mode="r") for path in self._paths(number))
            found.append(Labels(template, tuple(maps)))
            number += 1
        if not found:
            raise DataSetError(f"{self.folder.name} holds no labels yet")
        return found

    def _labeller(self, *, compiled: bool) -> nn.Module:
        net, _ = import_bundle(self.teacher)
        labeller: nn.Module = TeacherNet(net, taps_of(net, self.sides))
        labeller = labeller.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            compile_networks(labeller)
        return labeller

    def _paths(self, number: int) -> list[Path]:
        names = [f"templates-{number:05d}.npy", *(f"maps{s}-{number:05d}.npy" for s in self.sides)]
        return [self.folder / name for name in names]

    def _complete(self, number: int) -> bool:
        return all(path.is_file() for path in self._paths(number))

    def _claim(self) -> None:
        space = read(self.teacher).manifest.space_id
        facts = LabelFacts(teacher=space, photos=len(self.views.plain), seed=self.views.seed, maps=self.sides)
        path, text = self.folder / FACTS, facts.model_dump_json().encode()
        if path.is_file() and path.read_bytes() != text:
            raise DataSetError(f"{self.folder.name} holds labels of other views: choose another folder")
        write_whole(path, text)

    def _answers(
        self, labeller: nn.Module, first: int, count: int, *, bf16: bool
    ) -> Iterator[tuple[Tensor, list[Tensor]]]:
        for start in range(first, first + count, BATCH):
            rows = [self.views.view(i) for i in range(start, min(start + BATCH, first + count))]
            images = network_input(np.stack(rows), rows[0].shape[0])
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                template, maps = labeller(images)
            yield unit_rows(template), [m.float() for m in maps]

    def _scale(self, labeller: nn.Module, *, bf16: bool) -> list[tuple[Tensor, Tensor]]:
        """Mean and spread [1, c, 1, 1] of each map's channels, from the first photos."""
        path = self.folder / SCALE
        if not path.is_file():
            count = min(SCALE_VIEWS, len(self.views.plain))
            _fit_scale(path, [m for _, m in self._answers(labeller, 0, count, bf16=bf16)])
        stored = np.load(path)
        return [
            (torch.from_numpy(stored[f"mean{i}"]), torch.from_numpy(stored[f"spread{i}"]))
            for i in range(len(self.sides))
        ]

    def _part(
        self, number: int, labeller: nn.Module, scale: list[tuple[Tensor, Tensor]], *, bf16: bool
    ) -> None:
        templates: list[NDArray[np.float32]] = []
        maps: list[list[NDArray[np.int8]]] = [[] for _ in self.sides]
        for template, each in self._answers(labeller, number * PART_VIEWS, PART_VIEWS, bf16=bf16):
            templates.append(template.numpy())
            for kept, values, (mean, spread) in zip(maps, each, scale, strict=True):
                steps = ((values - mean) / spread * STEPS).round().clamp(-127, 127)
                kept.append(steps.to(torch.int8).numpy())
        paths = self._paths(number)
        write_array(paths[0], np.concatenate(templates))
        for path, stored in zip(paths[1:], maps, strict=True):
            write_array(path, np.concatenate(stored))


def _fit_scale(path: Path, answers: list[list[Tensor]]) -> None:
    stored: dict[str, NDArray[np.float32]] = {}
    for i, each in enumerate(zip(*answers, strict=True)):
        values = torch.cat(each)
        seen = values[..., values.abs().sum(dim=(0, 1, 2)) > 0]
        stored[f"mean{i}"] = seen.mean(dim=(0, 2, 3), keepdim=True).numpy()
        stored[f"spread{i}"] = seen.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-4).numpy()
    buffer = io.BytesIO()
    np.savez(buffer, **stored)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())
