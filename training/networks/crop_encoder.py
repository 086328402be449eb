"""The protocol of every embedding network of aligned crops."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from faces.types import Condition, Pixels, Role, Spectrum

Vectors = NDArray[np.float32]


class CropEncoder(Protocol):
    """An embedding network with its preprocessing."""

    @property
    def name(self) -> str:
        """What it is, for reports; no path of the machine."""
        ...

    @property
    def alignment(self) -> str:
        """The template of `faces.align.ALIGNMENTS` that its crops are aligned to."""
        ...

    def embed(self, crops: Pixels, spectrum: Spectrum) -> Vectors:
        """Embeds uint8 [n, side, side, 3] blue-green-red crops of one spectrum: unit float32 [n, dimension].

        The spectrum is known at test time; only an encoder with statistics for each spectrum uses it.
        """
        ...


@runtime_checkable
class RoutedEncoder(Protocol):
    """Several networks of one space: the side of the comparison and the condition choose one."""

    def embed_as(self, crops: Pixels, role: Role, condition: Condition) -> Vectors:
        """Embeds uint8 [n, side, side, 3] crops of one condition: unit float32 [n, dimension]."""
        ...


def embed_as(encoder: CropEncoder, crops: Pixels, role: Role, condition: Condition) -> Vectors:
    """Embeds crops uint8 [n, side, side, 3] of one condition for one side of a comparison."""
    if isinstance(encoder, RoutedEncoder):
        return encoder.embed_as(crops, role, condition)
    return encoder.embed(crops, condition.spectrum)
