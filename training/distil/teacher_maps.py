"""Samples the teacher's feature maps at the cells of the student's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.records import DataSetError
from training.networks.imported import ImportedNet


@dataclass(frozen=True, slots=True, eq=False)
class Tap:
    """One of the teacher's maps: its `name` in the graph, and the side of the student's map [side, side]."""

    name: str
    side: int


def taps_of(net: ImportedNet, sides: tuple[int, ...], *, image_px: int = 112) -> tuple[Tap, ...]:
    """The teacher's last sum of about each of the student's map sizes.

    Raises DataSetError if the teacher has none for a size.
    """
    sums: dict[int, str] = {}
    with torch.no_grad():
        names = frozenset(node.output for node in net.config.graph.nodes if node.op == "Add")
        held = net.values(net.prepare(torch.zeros(1, 3, image_px, image_px)), names)
    for name in (node.output for node in net.config.graph.nodes if node.output in names):
        if held[name].ndim == 4:
            sums[held[name].shape[2]] = name
    found = []
    for side in sides:
        near = [name for size, name in sums.items() if side <= size < 2 * side]
        if not near:
            raise DataSetError(f"the teacher has no map that a map of {side} px could learn from")
        found.append(Tap(near[0], side))
    return tuple(found)


def at_cells(maps: Tensor, side: int, *, image_px: int, columns: tuple[int, int] | None) -> Tensor:
    """Samples maps [b, c, h, w] over these columns of an image at the middle of each cell of the whole image:
    [b, c, side, side]. Cells that the teacher does not see are zero."""
    first, last = columns or (0, image_px)
    middle = (torch.arange(side) + 0.5) * (image_px / side)
    across = (middle - first) / (last - first) * 2 - 1
    down = middle / image_px * 2 - 1
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)[None]
    read = functional.grid_sample(
        maps.float(), grid.expand(len(maps), -1, -1, -1), padding_mode="border", align_corners=False
    )
    return read * seen_columns(side, image_px=image_px, columns=columns)


def seen_columns(side: int, *, image_px: int, columns: tuple[int, int] | None) -> Tensor:
    """A float mask [side]: 1 for columns of cells whose middle the teacher sees, else 0."""
    first, last = columns or (0, image_px)
    middle = (torch.arange(side) + 0.5) * (image_px / side)
    return ((middle >= first) & (middle <= last)).float()


class TeacherNet(nn.Module):
    """Images [b, 3, s, s] -> templates [b, T] and maps [b, c, side, side] at the student's cells."""

    def __init__(self, net: ImportedNet, taps: tuple[Tap, ...]) -> None:
        super().__init__()
        self.net, self.taps = net.eval(), taps

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        held = self.net.values(self.net.prepare(x), frozenset(tap.name for tap in self.taps))
        columns = self.net.config.columns
        maps = [at_cells(held[t.name], t.side, image_px=x.shape[3], columns=columns) for t in self.taps]
        return held[self.net.config.graph.output].flatten(1), maps
