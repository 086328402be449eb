"""The protocol of every embedding network of aligned crops."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faces.types import Pixels, Spectrum

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
